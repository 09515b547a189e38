"""The event log as it grows: every file once, flush by flush, in bounded memory.

A flush of one partition writes a file for each date. Its files may appear one after the other, but the next flush
begins only when all are there: so everything before a partition's newest flush is complete, and of the newest one the
files that were read are remembered by name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streamer.errors import SourceError

_NAME = re.compile(r"partition-(\d+)-(\d+)-(\d+)\.parquet")
_COLUMNS = [
    *("type", "event_time_ms", "offset", "user_id", "item_id", "action", "value"),
    *("title", "categories", "price", "published_time_ms"),
]


class LogReader:
    """Reads what the log has gained since it was read last.

    Parameters
    ----------
    folder
        The event log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._complete: dict[int, int] = {}  # partition -> last offset of the newest complete flush
        self._read: dict[int, list[str]] = {}  # partition -> files behind it that were read

    def read(self) -> Iterator[list[dict[str, Any]]]:
        """Rows of one flush after the other, in the order of their offsets; each is noted as read once it was taken.

        Raises
        ------
        SourceError
            A file cannot be read.
        """
        for partition, flushes in self._waiting().items():
            for last, paths in flushes:
                yield _rows(paths)
                self._note(partition, last, paths)

    def state_dict(self) -> dict[str, Any]:
        """Where reading goes on."""
        return {"complete": dict(self._complete), "read": {key: list(names) for key, names in self._read.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._complete = {int(key): int(value) for key, value in state["complete"].items()}
        self._read = {int(key): list(names) for key, names in state["read"].items()}

    def _waiting(self) -> dict[int, list[tuple[int, list[Path]]]]:
        """By partition its flushes in order, each with the files that were not read."""
        found: defaultdict[int, defaultdict[tuple[int, int], list[Path]]] = defaultdict(lambda: defaultdict(list))
        for path in sorted(self.folder.glob("event_date=*/partition-*.parquet")):
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            partition, first, last = map(int, match.groups())
            if last > self._complete.get(partition, -1) and _key(path) not in self._read.get(partition, []):
                found[partition][first, last].append(path)
        return {
            partition: [(last, paths) for (_, last), paths in sorted(flushes.items())]
            for partition, flushes in sorted(found.items())
        }

    def _note(self, partition: int, last: int, paths: list[Path]) -> None:
        """Remember files; what lies before their flush is complete and need not be remembered by name."""
        names = [*self._read.get(partition, []), *map(_key, paths)]
        earlier = [end for name in names if (end := _end(name)) < last]
        if earlier:
            self._complete[partition] = max(self._complete.get(partition, -1), *earlier)
        complete = self._complete.get(partition, -1)
        self._read[partition] = [name for name in names if _end(name) > complete]


def _key(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _end(name: str) -> int:
    match = _NAME.search(name)
    assert match is not None
    return int(match.group(3))


def _rows(paths: list[Path]) -> list[dict[str, Any]]:
    tables = []
    for path in paths:
        try:
            tables.append(pq.ParquetFile(path).read(columns=_COLUMNS))
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{path} cannot be read ({error}); restore it, or move it out of the event log to go on without it"
            ) from error
    rows: list[dict[str, Any]] = pa.concat_tables(tables).sort_by("offset").to_pylist()
    return rows
