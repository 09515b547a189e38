"""The one writer of the label store: labels from the topic into files, each exactly once.

A flush writes the files of all partitions and days, then notes the offsets. Until that note the files do not count as
written: a writer that starts removes what lies behind the noted offsets and reads those labels from the topic again.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import defaultdict
from pathlib import Path

import msgspec

from streamer.errors import SourceError
from streamer.label_files import (
    OFFSETS,
    date_of,
    files_of,
    path_of,
    read_offsets,
    remove,
    superseded,
    to_table,
    write,
    write_offsets,
)
from streamer.soft_labels import SoftLabel, decode

_log = logging.getLogger(__name__)


class LabelWriter:
    """Collects labels in the order of their offsets and writes them in flushes.

    Parameters
    ----------
    folder
        The label store.

    Raises
    ------
    SourceError
        Another writer runs, or the note of the offsets is lost.

    Examples
    --------
    >>> import tempfile
    >>> from streamer.soft_labels import encode
    >>> label = SoftLabel(example_id="e", version="1", event_time_ms=0, labelled_ms=0, partition=0, offset=0,
    ...                   item_ids=["a"], logits=[0.5])
    >>> writer = LabelWriter(Path(tempfile.mkdtemp()))
    >>> writer.add(2, 40, encode(label)); writer.flush(), writer.offsets
    (1, {2: 41})
    >>> writer.close()
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        self.unreadable = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder)
        self.offsets = self._recover()  # of the topic, behind what the files hold
        self._next = dict(self.offsets)  # behind what was taken
        self._waiting: defaultdict[int, list[tuple[int, SoftLabel]]] = defaultdict(list)

    def __len__(self) -> int:
        """Return how many labels wait for a file."""
        return sum(map(len, self._waiting.values()))

    def add(self, partition: int, offset: int, value: bytes | None) -> None:
        """Take one record of the topic; what was taken before is left out, what cannot be read is counted."""
        if offset < self._next.get(partition, 0):
            return
        self._next[partition] = offset + 1
        try:
            self._waiting[partition].append((offset, decode(value or b"")))
        except msgspec.MsgspecError as error:
            self.unreadable += 1
            _log.error("a label at partition %d, offset %d cannot be read: %s", partition, offset, error)

    def flush(self) -> int:
        """Write everything that waits, then note the offsets; returns how many labels."""
        if self._next == self.offsets:
            return 0
        for partition, labels in self._waiting.items():
            for date, members in _by_date(labels).items():
                path = path_of(self.folder, date, partition, members[0][0], members[-1][0])
                write(path, [to_table(members)])
        write_offsets(self.folder, self._next)
        count, self.offsets = len(self), dict(self._next)
        self._waiting.clear()
        self.written += count
        return count

    def close(self) -> None:
        """Let another writer take over; what waits is on the topic still."""
        os.close(self._lock)

    def _recover(self) -> dict[int, int]:
        """Remove what a crash has cut off; returns the offsets from which to read."""
        files = files_of(self.folder)
        if not (self.folder / OFFSETS).exists():
            if files:
                raise SourceError(
                    f"{self.folder} holds labels but no {OFFSETS}, which says up to where the topic was read; restore "
                    "that file, or move the folder away to read the topic again"
                )
            write_offsets(self.folder, {})
        offsets = read_offsets(self.folder)
        unnoted = [file for file in files if file.first >= offsets.get(file.partition, 0)]
        remove(self.folder, [file.path for file in (*unnoted, *superseded(self.folder))])
        for partial in (*self.folder.glob(".*.partial"), *self.folder.glob("label_date=*/.*.partial")):
            partial.unlink(missing_ok=True)
        return offsets


def _locked(folder: Path) -> int:
    handle = os.open(folder / ".writer.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets it go when the process ends, however
    except OSError as error:
        os.close(handle)
        raise SourceError(
            f"another process writes the labels in {folder}; one writer is enough for all students, stop that one first"
        ) from error
    return handle


def _by_date(labels: list[tuple[int, SoftLabel]]) -> dict[str, list[tuple[int, SoftLabel]]]:
    dates: defaultdict[str, list[tuple[int, SoftLabel]]] = defaultdict(list)
    for offset, label in labels:
        dates[date_of(label.labelled_ms)].append((offset, label))
    return dates
