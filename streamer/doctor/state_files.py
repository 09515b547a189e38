"""What the processes keep: session state, snapshots, the label store, and the locks on them."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from streamer import snapshots, state
from streamer.doctor.finding import Finding, fine, wrong
from streamer.doctor.stores import check_sqlite
from streamer.errors import HeadwaterError
from streamer.label_files import files_of, read_offsets
from streamer.settings import Settings

LOCK_SECONDS = 2.0
_restore = "headwater restore, or move it away and let the worker replay headwater.events"


def check_state(settings: Settings) -> Iterator[Finding]:
    """Check the session state of every partition: readable, whole, of this format, of a partition that exists."""
    paths = sorted(settings.stores.sessions_dir.glob("partition-*.sqlite"))
    for path in paths:
        found = list(check_sqlite(path, _restore))
        yield from found
        if not any(finding.wrong for finding in found):
            yield from _format(path)
    if len(paths) > settings.kafka.partitions:
        said = f"there is state of {len(paths)} partitions, kafka.partitions is {settings.kafka.partitions}"
        yield wrong(
            "state", said, f"set HEADWATER_KAFKA__PARTITIONS={len(paths)}, or see docs/operations.md, Migrations"
        )


def _format(path: Path) -> Iterator[Finding]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            written, offset = connection.execute("SELECT format, offset FROM applied").fetchone()
    except (sqlite3.DatabaseError, TypeError) as error:
        yield wrong("state", f"{path} is no state file ({error})", _restore)
        return
    if written != state.FORMAT:
        said = f"{path} has format {written}, this version reads {state.FORMAT}"
        yield wrong("state", said, "start the version that wrote it, or move it away and replay")
    else:
        yield fine("state", f"{path.name} has applied offset {offset}")


def check_snapshots(settings: Settings) -> Iterator[Finding]:
    """Read every snapshot whole: its checksum, its format, its offsets."""
    folders = sorted(path.parent for path in settings.stores.snapshots_dir.rglob(f"*{snapshots.SUFFIX}"))
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.glob(f"*{snapshots.SUFFIX}")):
            yield from _of_snapshot(path)
    for path in sorted(settings.stores.snapshots_dir.rglob("*.damaged")):
        yield fine("snapshots", f"{path} was set aside as damaged; delete it once the learner runs")


def _of_snapshot(path: Path) -> Iterator[Finding]:
    try:
        saved, _ = snapshots.load(path)
    except HeadwaterError as error:
        if not path.exists():
            return  # replaced by a newer one while we looked
        mend = "the one before it is used; headwater restore where it is the only one"
        yield wrong("snapshots", str(error).split("; ")[0], mend)
    else:
        offsets = saved.get("offsets") if isinstance(saved, dict) else None
        yield fine("snapshots", f"{path.parent.name}/{path.name} is whole, source offsets {offsets}")


def check_labels(settings: Settings) -> Iterator[Finding]:
    """See whether the label store knows up to where it has read."""
    folder = settings.stores.labels_dir
    if not folder.exists():
        return
    try:
        found, offsets = files_of(folder), read_offsets(folder)
    except (HeadwaterError, OSError, ValueError) as error:
        yield wrong("labels", f"{folder} cannot be read ({error})", f"move {folder} away; headwater labels reads again")
    else:
        yield fine("labels", f"{len(found)} files, up to {sum(offsets.values())} records of the topic")


def check_locks(settings: Settings, seconds: float = LOCK_SECONDS) -> Iterator[Finding]:
    """Try the locks that processes hold for moments only: one that stays held stops every other process.

    Parameters
    ----------
    settings
        Where the state lies.
    seconds
        How long a lock may be busy.
    """
    stores = settings.stores
    for path in (stores.feast_dir / ".lock", *sorted(stores.models_dir.glob("versions/*/.lock"))):
        if path.exists() and not _free_within(path, seconds):
            said = f"{path} has been held for {seconds:g} s; publishing and starting wait for it"
            yield wrong("locks", said, f"end the process that holds it: fuser {path}")
    writer = stores.labels_dir / ".writer.lock"
    if writer.exists():
        yield fine("locks", "no label store runs here" if _free_within(writer, 0) else "one label store runs here")


def _free_within(path: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    with path.open("rb") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            except OSError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.05)
