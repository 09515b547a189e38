"""The event log: every accepted event once, in Parquet files partitioned by event date.

Events wait in the partition's state file, written in the same transaction as their effects, until enough of them are
there for a file. A flush first records which offsets it writes; the files are named after these offsets, so a flush
that a crash has cut off is done again over the same files and no row is doubled or lost.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streamer.effects import LogEntry
from streamer.events import Event
from streamer.state import connect, transaction

FLUSH_ROWS = 20_000

SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("type", pa.string()),
        ("event_timestamp", pa.timestamp("ms", tz="UTC")),
        ("event_time_ms", pa.int64()),
        ("broker_time_ms", pa.int64()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("schema_version", pa.int32()),
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("item_id", pa.string()),
        ("action", pa.string()),
        ("value", pa.float64()),
        ("surface", pa.string()),
        ("query", pa.string()),
        ("source_item_id", pa.string()),
        ("impression_id", pa.string()),
        ("items", pa.list_(pa.string())),
        ("propensities", pa.list_(pa.float64())),
        ("model_version", pa.string()),
        ("source_scores", pa.list_(pa.list_(pa.float64()))),
        ("context_features", pa.list_(pa.float64())),
        ("title", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("price", pa.float64()),
        ("published_time_ms", pa.int64()),
        ("available", pa.bool_()),
        ("extra", pa.string()),  # JSON of the fields that the contract does not know
    ]
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)


def encode(event: Event) -> bytes:
    """Bytes of an event as it waits for its file."""
    return _encoder.encode(event)


class EventLog:
    """Writes the waiting events of one partition to Parquet; its own connection, so it may run in its own thread.

    Parameters
    ----------
    state_file
        The partition's state file.
    folder
        Where the log lies; files go to ``event_date=YYYY-MM-DD/`` below it.
    partition
        Number of the events partition.
    """

    def __init__(self, state_file: Path, folder: Path, partition: int) -> None:
        self._connection = connect(state_file)
        self._folder = folder
        self._partition = partition

    def close(self) -> None:
        """Close the connection; what waits stays in the state file."""
        self._connection.close()

    def waiting(self) -> int:
        """How many events wait for a file."""
        return int(self._connection.execute("SELECT count(*) FROM log_entries").fetchone()[0])

    def flush(self, rows: int = FLUSH_ROWS) -> int:
        """Write up to ``rows`` waiting events to files; returns how many.

        A flush that was cut off earlier is finished first, and alone.
        """
        bounds = self._intend(rows)
        if bounds is None:
            return 0
        query = "SELECT * FROM log_entries WHERE offset BETWEEN ? AND ? ORDER BY offset"
        entries = [LogEntry(*row) for row in self._connection.execute(query, bounds)]
        for date, members in _by_date(entries).items():
            self._write(date, members, bounds)
        with transaction(self._connection):
            self._connection.execute("DELETE FROM log_entries WHERE offset BETWEEN ? AND ?", bounds)
            self._connection.execute("DELETE FROM log_flush WHERE first_offset = ? AND last_offset = ?", bounds)
        return len(entries)

    def flush_all(self) -> int:
        """Write everything that waits; returns how many events."""
        written = 0
        while count := self.flush():
            written += count
        return written

    def _intend(self, rows: int) -> tuple[int, int] | None:
        with transaction(self._connection):
            found = self._connection.execute("SELECT first_offset, last_offset FROM log_flush").fetchone()
            if found is not None:
                return int(found[0]), int(found[1])
            query = "SELECT min(offset), max(offset) FROM (SELECT offset FROM log_entries ORDER BY offset LIMIT ?)"
            first, last = self._connection.execute(query, (rows,)).fetchone()
            if first is None:
                return None
            self._connection.execute("INSERT INTO log_flush VALUES (1, ?, ?)", (first, last))
            return int(first), int(last)

    def _write(self, date: str, entries: list[LogEntry], bounds: tuple[int, int]) -> None:
        folder = self._folder / f"event_date={date}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"partition-{self._partition:05d}-{bounds[0]:020d}-{bounds[1]:020d}.parquet"
        # not *.parquet: a reader of the folder must not take it
        temporary = folder / f".{path.stem}.{os.getpid()}.tmp"
        table = pa.Table.from_pylist([_row(entry, self._partition) for entry in entries], schema=SCHEMA)
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folders([folder, self._folder])


def _by_date(entries: list[LogEntry]) -> dict[str, list[LogEntry]]:
    dates: defaultdict[str, list[LogEntry]] = defaultdict(list)
    for entry in entries:
        dates[datetime.fromtimestamp(entry.event_time_ms / 1_000, UTC).date().isoformat()].append(entry)
    return dates


def _row(entry: LogEntry, partition: int) -> dict[str, Any]:
    event = _decoder.decode(entry.event)
    return msgspec.structs.asdict(event) | {
        "event_timestamp": event.event_time_ms,
        "broker_time_ms": entry.published_ms,
        "partition": partition,
        "offset": entry.offset,
        "extra": msgspec.json.encode(event.extra).decode() if event.extra else None,
    }


def _sync_folders(folders: Iterable[Path]) -> None:
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
