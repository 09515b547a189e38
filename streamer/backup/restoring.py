"""Bringing an archive back."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from streamer.backup import manifest, redis_dump
from streamer.backup.manifest import File, Manifest
from streamer.errors import SnapshotError
from streamer.settings import Settings

_CHUNK_BYTES = 1_048_576


def restore(settings: Settings, archive: Path, *, overwrite: bool = False) -> Manifest:
    """Bring the state back into an empty folder; every checksum is compared before anything appears there.

    Afterwards every process goes on from the offsets in its own state, so the broker must still have the topics from
    there on. The event topic's end is compared by the worker itself when it starts.

    Parameters
    ----------
    settings
        Where the state shall lie, and the online store.
    archive
        What ``headwater backup`` wrote.
    overwrite
        Replace rows of an online store in Redis.

    Raises
    ------
    SnapshotError
        The folder is not empty, the archive is damaged or of another format, or its settings contradict these.
    """
    state = settings.stores.state_dir
    if state.exists() and any(state.iterdir()):
        raise SnapshotError(f"{state} is not empty; stop the processes and move it away, or set stores.state_dir")
    state.parent.mkdir(parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(prefix=".restore-", dir=state.parent))
    try:
        found = unpack(archive, unpacked)
        _check_settings(settings, found)
        if settings.stores.online_store == "redis":
            redis_dump.load(unpacked / manifest.REDIS, settings.stores.redis_url, overwrite=overwrite)
        _move_in(unpacked / manifest.STATE, state)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return found


def unpack(archive: Path, folder: Path) -> Manifest:
    """Read an archive whole and compare every checksum; its files are in ``folder`` afterwards.

    Raises
    ------
    SnapshotError
        Naming what is damaged, missing, or of another format.
    """
    sums: dict[str, File] = {}
    found: Manifest | None = None
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member, content in _members(tar, archive):
                if member == manifest.FILE:
                    found = msgspec.json.decode(content.read(), type=Manifest)
                else:
                    sums[member] = _copy(content, folder / member)
    except FileNotFoundError as error:
        raise SnapshotError(f"there is no archive {archive}") from error
    except (tarfile.TarError, EOFError, OSError, msgspec.DecodeError) as error:
        raise SnapshotError(f"{archive} is damaged ({error}); use another backup") from error
    _check(archive, found, sums)
    assert found is not None  # checked
    return found


def _members(tar: tarfile.TarFile, archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for member in tar:
        path = PurePosixPath(member.name)
        content = tar.extractfile(member) if member.isfile() else None
        if content is None or path.is_absolute() or ".." in path.parts:
            raise SnapshotError(f"{archive} holds {member.name!r}, which no backup writes; nothing was restored")
        yield member.name, content


def _copy(content: IO[bytes], target: Path) -> File:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += file.write(chunk)
    return File(sha256=digest.hexdigest(), bytes=size)


def _check(archive: Path, found: Manifest | None, sums: dict[str, File]) -> None:
    if found is None:
        raise SnapshotError(f"{archive} has no {manifest.FILE}: it was cut off; use another backup")
    if found.format != manifest.FORMAT:
        raise SnapshotError(f"{archive} has format {found.format}, this version reads {manifest.FORMAT}")
    different = sorted(name for name in found.files.keys() | sums.keys() if found.files.get(name) != sums.get(name))
    if different:
        raise SnapshotError(f"{archive} is damaged: {different[0]} is not what was written; use another backup")


def _check_settings(settings: Settings, found: Manifest) -> None:
    here = {"kafka.partitions": settings.kafka.partitions, "stores.online_store": settings.stores.online_store}
    there = {"kafka.partitions": found.partitions, "stores.online_store": found.online_store}
    for name, wanted in there.items():
        if here[name] != wanted:
            raise SnapshotError(f"the archive was written with {name}={wanted!r}, here it is {here[name]!r}; set it")


def _move_in(unpacked: Path, state: Path) -> None:
    unpacked.mkdir(exist_ok=True)  # an archive of an empty folder
    if state.exists():  # a mount point, which cannot be replaced
        for entry in sorted(unpacked.iterdir()):
            entry.rename(state / entry.name) if _same_disk(entry, state) else shutil.move(entry, state)
    else:
        unpacked.rename(state)


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
