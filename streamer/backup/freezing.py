"""A folder's state at one moment, beside the processes that go on writing it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from exporters import files
from streamer.errors import SnapshotError

STAGING = ".backup-"
_TRIES = 50
_SQLITE = b"SQLite format 3\0"
_LEFT_OUT_FOLDERS = ("faust", "logs")
# made anew by every process that opens the repository; holds absolute paths, and may hold Redis's password
_LEFT_OUT_FILES = ("feature_store.yaml", "feature_store.yaml.new", "registry.db")
_LEFT_OUT_SUFFIXES = (".partial", ".tmp", ".lock", "-wal", "-shm", "-journal", ".damaged")


def freeze(state: Path, staging: Path) -> None:
    """Fill ``staging`` with the state as it is now.

    Databases come first: what is flushed from them into files meanwhile is then in both, and
    :func:`streamer.backup.event_files.drop_later` takes it out of the files.

    Parameters
    ----------
    state
        The processes' state folder.
    staging
        An empty folder on the same file system.

    Raises
    ------
    SnapshotError
        A folder changes faster than it can be listed, or a database is damaged.
    """
    for path in sorted(
        databases(state), key=lambda path: path.suffix != ".sqlite"
    ):  # session state before online store
        _copy_database(path, staging / path.relative_to(state))
    for folder in _in_order(state):
        with ExitStack() as locks:
            for lock in sorted(folder.glob("versions/*/.lock")):
                locks.enter_context(files.exclusive(lock))  # a version must not retire while it is linked
            _link_all(state, folder, staging)


def databases(state: Path) -> list[Path]:
    """Every SQLite file of the state.

    >>> databases(Path("/nowhere"))
    []
    """
    found = [path for path in _walk(state) if path.suffix in {".sqlite", ".db"} and _kept(state, path)]
    return [path for path in found if _is_database(path)]


def _in_order(state: Path) -> list[Path]:
    """Folders, those first whose files say what of the others counts."""
    first = ("snapshots", "labels")
    found = sorted(entry for entry in state.iterdir() if entry.is_dir() and _kept(state, entry))
    return sorted(found, key=lambda entry: first.index(entry.name) if entry.name in first else len(first))


def _link_all(state: Path, folder: Path, staging: Path) -> None:
    for _ in range(_TRIES):
        listed = _listed(state, folder)
        try:
            for path in listed:
                link(path, staging / path.relative_to(state))
        except FileNotFoundError:  # replaced while we linked
            listed = []
        if listed == _listed(state, folder):
            return
        shutil.rmtree(staging / folder.relative_to(state) / "", ignore_errors=True)
        for path in databases(folder):
            _copy_database(path, staging / path.relative_to(state))
    raise SnapshotError(f"{folder} changes all the time: {_TRIES} tries to list it; stop its process for the backup")


def _listed(state: Path, folder: Path) -> list[Path]:
    """Plain files that never change in place, the small ones that point to others first."""
    found = [path for path in _walk(folder) if _kept(state, path)]
    plain = [path for path in found if not (path.suffix in {".sqlite", ".db"} and _is_database(path))]
    return sorted(plain, key=lambda path: path.suffix != ".json")


def link(path: Path, target: Path) -> None:
    """Hold a file's content as it is now, whatever its name will point to later."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # another volume, or a file system without hard links
        shutil.copy2(path, target)


def _walk(folder: Path) -> list[Path]:
    """Every file below a folder; a folder that is removed meanwhile is passed by, where ``rglob`` would raise."""
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def _copy_database(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)  # all pages in one read transaction: one moment
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as error:
        raise SnapshotError(f"{path} cannot be copied ({error}); run `headwater doctor --only state`") from error


def _kept(state: Path, path: Path) -> bool:
    parts: Iterable[str] = path.relative_to(state).parts
    return not any(_is_left_out(part) for part in parts)


def _is_left_out(name: str) -> bool:
    return (
        name.startswith((files.TEMPORARY, STAGING))
        or name.split("-")[0] in _LEFT_OUT_FOLDERS
        or name in _LEFT_OUT_FILES
        or name.endswith(_LEFT_OUT_SUFFIXES)
    )


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def all_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in the order of their names."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
