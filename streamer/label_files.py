"""The files of the label store: their names, their schema, and how they are written and listed.

::

    label_date=2026-05-01/partition-00002-00000000000000000000-00000000000000019999.parquet
    offsets.json                                     {"2": 20000}: the labels before it are in the files

A file is named after the partition of the labels' topic and the offsets that it spans. Within a day the spans of one
partition never overlap, so a file whose span lies inside another's is what a cut-off compaction left: it is not read.
Days are those on which the teacher spoke (a replay's events may be years old; retention is about wall time).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streamer.soft_labels import UNTOLD, SoftLabel

MILLISECONDS_A_DAY = 86_400_000
OFFSETS = "offsets.json"
ROWS_A_GROUP = 8_192  # a reader of few ids skips whole groups by their times
SCHEMA = pa.schema(
    [
        ("topic_offset", pa.int64()),
        ("example_id", pa.string()),
        ("version", pa.string()),
        ("event_time_ms", pa.int64()),
        ("labelled_ms", pa.int64()),
        ("partition", pa.int32()),  # of the example
        ("offset", pa.int64()),
        ("item_ids", pa.list_(pa.string())),
        ("logits", pa.list_(pa.float32())),
        ("remainder", pa.float32()),
        ("scored", pa.int32()),
        ("task_names", pa.list_(pa.string())),
        ("task_logits", pa.list_(pa.float32())),
        ("learnt", pa.int64()),  # missing in files of earlier versions of the program
    ]
)

_NAME = re.compile(r"partition-(\d+)-(\d+)-(\d+)\.parquet")
# example ids never repeat: a dictionary of them would only be added to the page
_WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["version", "item_ids.list.element", "task_names.list.element"],
    "column_encoding": {"logits.list.element": "BYTE_STREAM_SPLIT", "topic_offset": "DELTA_BINARY_PACKED"},
}


@dataclass(frozen=True, order=True, slots=True)
class LabelFile:
    """One file: where it lies and which offsets of which partition it spans."""

    date: str
    partition: int
    first: int
    last: int
    path: Path

    def holds(self, other: LabelFile) -> bool:
        """Whether the other's span lies inside this one's, of the same day and partition."""
        same = (self.date, self.partition) == (other.date, other.partition)
        return same and self.path != other.path and self.first <= other.first and other.last <= self.last


def files_of(folder: Path, since_ms: int | None = None, until_ms: int | None = None) -> list[LabelFile]:
    """List the files that count, in the order of day, partition and offset; bounds are on the day."""
    found = [file for path in folder.glob("label_date=*/partition-*.parquet") if (file := _parsed(path)) is not None]
    first = "" if since_ms is None else date_of(since_ms)
    last = "9999" if until_ms is None else date_of(until_ms)
    return _standing([file for file in found if first <= file.date <= last])


def superseded(folder: Path) -> list[LabelFile]:
    """Files whose labels are in a larger one too."""
    found = [file for path in folder.glob("label_date=*/partition-*.parquet") if (file := _parsed(path)) is not None]
    standing = set(_standing(found))
    return [file for file in found if file not in standing]


def _standing(files: list[LabelFile]) -> list[LabelFile]:
    by_place: defaultdict[tuple[str, int], list[LabelFile]] = defaultdict(list)
    for file in files:
        by_place[file.date, file.partition].append(file)
    return sorted(one for place in by_place.values() for one in _widest(place))


def _widest(files: list[LabelFile]) -> Iterable[LabelFile]:
    """Leave out what lies inside another span: spans are nested or apart, so one pass over them in order is enough."""
    end = -1
    for file in sorted(files, key=lambda one: (one.first, -one.last)):
        if file.last > end:
            yield file
            end = file.last


def _parsed(path: Path) -> LabelFile | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    partition, first, last = map(int, match.groups())
    return LabelFile(path.parent.name.partition("=")[2], partition, first, last, path)


def date_of(time_ms: int) -> str:
    """Day of a time, UTC.

    >>> date_of(0)
    '1970-01-01'
    """
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date().isoformat()


def path_of(folder: Path, date: str, partition: int, first: int, last: int) -> Path:
    """Path of the file that spans these offsets."""
    return folder / f"label_date={date}" / f"partition-{partition:05d}-{first:020d}-{last:020d}.parquet"


def to_table(labels: Sequence[tuple[int, SoftLabel]]) -> pa.Table:
    """Columns of labels with their offsets on the topic."""
    columns: dict[str, list[Any]] = {"topic_offset": [offset for offset, _ in labels]}
    for name in SCHEMA.names[1:11]:
        columns[name] = [getattr(label, name) for _, label in labels]
    columns["task_names"] = [list(label.tasks) for _, label in labels]
    columns["task_logits"] = [list(label.tasks.values()) for _, label in labels]
    columns["learnt"] = [label.learnt for _, label in labels]
    return pa.table(columns, schema=SCHEMA)


def conformed(table: pa.Table) -> pa.Table:
    """Give a table of an earlier version of the program the columns that it lacks, empty."""
    for field in SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(SCHEMA.names)


def from_table(table: pa.Table) -> list[SoftLabel]:
    """Labels of a table, in its order; logits have the precision of the file (float32)."""
    names = SCHEMA.names[1:]
    columns = [table.column(name).to_pylist() for name in names]
    return [_label(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _label(row: dict[str, Any]) -> SoftLabel:
    tasks = dict(zip(row.pop("task_names"), row.pop("task_logits"), strict=True))
    learnt = row.pop("learnt")
    return SoftLabel(**row, tasks=tasks, learnt=UNTOLD if learnt is None else learnt)


def write(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write one file from tables, one after the other, so that it is there whole or not at all, and stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("wb") as file:
        with pq.ParquetWriter(file, SCHEMA, **_WRITING) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROWS_A_GROUP)
        file.flush()
        os.fsync(file.fileno())
    _put(temporary, path)


def read_offsets(folder: Path) -> dict[int, int]:
    """By partition of the topic the offset behind the last label that the files hold; empty where there are none."""
    path = folder / OFFSETS
    if not path.exists():
        return {}
    return {int(name): offset for name, offset in msgspec.json.decode(path.read_bytes(), type=dict[str, int]).items()}


def write_offsets(folder: Path, offsets: dict[int, int]) -> None:
    """Note up to where the files hold every label: from here a writer goes on."""
    path = folder / OFFSETS
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode({str(number): offset for number, offset in sorted(offsets.items())}))
        file.flush()
        os.fsync(file.fileno())
    _put(temporary, path)


def _put(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)
    for folder in (path.parent, path.parent.parent):
        _sync_folder(folder)


def remove(folder: Path, paths: Iterable[Path]) -> None:
    """Remove files of the store for good."""
    gone = list(paths)
    for path in gone:
        path.unlink(missing_ok=True)
    for parent in {folder, *(path.parent for path in gone)}:
        _sync_folder(parent)


def _sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
