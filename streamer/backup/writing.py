"""Writing the archive."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from importlib import metadata
from pathlib import Path

from streamer.backup import manifest, redis_dump
from streamer.backup.event_files import drop_later
from streamer.backup.freezing import STAGING, all_files, freeze
from streamer.backup.manifest import File, Manifest
from streamer.backup.positions import positions_of
from streamer.errors import SnapshotError
from streamer.settings import Settings


def back_up(settings: Settings, archive: Path) -> Manifest:
    """Write the online state into one tar file, beside running processes or stopped ones.

    In it: session state, event log, label store, snapshots and training window, the model registry, Feast's online
    store. Not in it: the topics (Kafka's own replication is for those), logs, caches.

    Parameters
    ----------
    settings
        Where the state lies.
    archive
        The file; compressed where its name ends with ``.gz``. It appears whole or not at all.

    Raises
    ------
    SnapshotError
        There is nothing to back up, the archive exists, or something is damaged.
    """
    state = settings.stores.state_dir
    if not state.is_dir():
        raise SnapshotError(f"there is no state folder {state}; set HEADWATER_STORES__STATE_DIR")
    if archive.exists():
        raise SnapshotError(f"{archive} exists; give another name, a backup never replaces one")
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=state))  # beside the files: hard links stay on their disk
    try:
        freeze(state, staging)
        drop_later(staging / settings.stores.sessions_dir.name, staging / settings.stores.event_log_dir.name)
        if settings.stores.online_store == "redis":  # last: it may be newer than the state, never older
            redis_dump.dump(settings.stores.redis_url, staging / manifest.REDIS)
        return _write(settings, staging, archive)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(settings: Settings, staging: Path, archive: Path) -> Manifest:
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f".{archive.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            written = _fill(file, archive.suffix == ".gz", settings, staging)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(archive)
    except OSError as error:
        raise SnapshotError(f"{archive} cannot be written ({error}); free space or choose another disk") from error
    finally:
        partial.unlink(missing_ok=True)
    return written


def _fill(file: io.BufferedWriter, compressed: bool, settings: Settings, staging: Path) -> Manifest:
    found: dict[str, File] = {}
    with _opened(file, compressed) as tar:
        for path in all_files(staging):
            name = path.relative_to(staging).as_posix()
            name = name if name == manifest.REDIS else manifest.STATE + name
            found[name] = _add(tar, path, name)
        written = Manifest(
            created_ms=time.time_ns() // 1_000_000,
            headwater=metadata.version("headwater"),
            partitions=settings.kafka.partitions,
            online_store=settings.stores.online_store,
            files=found,
            positions=positions_of(staging),
        )
        content = manifest.encode(written)
        member = tarfile.TarInfo(manifest.FILE)
        member.size, member.mtime = len(content), written.created_ms // 1_000
        tar.addfile(member, io.BytesIO(content))
    return written


def _opened(file: io.BufferedWriter, compressed: bool) -> tarfile.TarFile:
    if compressed:
        return tarfile.open(fileobj=file, mode="w:gz", compresslevel=3)
    return tarfile.open(fileobj=file, mode="w")


class _Hashing(io.RawIOBase):
    """Reads a file through and knows its checksum afterwards."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        found = self._file.read(size)
        self.digest.update(found)
        return found


def _add(tar: tarfile.TarFile, path: Path, name: str) -> File:
    member = tarfile.TarInfo(name)
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        member.size, member.mtime, member.mode = about.st_size, int(about.st_mtime), 0o644
        hashing = _Hashing(file)
        tar.addfile(member, hashing)
    return File(sha256=hashing.digest.hexdigest(), bytes=member.size)
