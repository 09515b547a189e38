"""Upkeep of the label store: many small files become one, and old days go.

A compaction writes the larger file first and removes the small ones after it, so a crash in between leaves labels in
two files of which the smaller is not read (see :mod:`streamer.label_files`). Only the writer's process does upkeep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from streamer.label_files import (
    MILLISECONDS_A_DAY,
    ROWS_A_GROUP,
    LabelFile,
    conformed,
    date_of,
    files_of,
    path_of,
    remove,
    write,
)

LARGE_BYTES = 64 * 1_048_576  # a file of today that need not grow any more


def compact(folder: Path, now_ms: int, most_files: int = 16) -> int:
    """Merge what a day and a partition have too many files of; returns how many files were merged away.

    Days before today get one file for each partition. Of today, runs of small neighbours are merged once there are
    ``most_files`` of them: what is large is not written again.
    """
    today, merged = date_of(now_ms), 0
    places: defaultdict[tuple[str, int], list[LabelFile]] = defaultdict(list)
    for file in files_of(folder):
        places[file.date, file.partition].append(file)
    for (date, _), files in places.items():
        runs = [files] if date < today else _small_runs(files)
        for run in runs:
            if len(run) >= (2 if date < today else most_files):
                _merge(folder, run)
                merged += len(run) - 1
    return merged


def expire(folder: Path, now_ms: int, retention_days: int) -> int:
    """Remove the days before the retention; returns how many files went."""
    until = date_of(now_ms - retention_days * MILLISECONDS_A_DAY)
    old = [file.path for file in files_of(folder) if file.date < until]
    remove(folder, old)
    for day in folder.glob("label_date=*"):
        if day.name.partition("=")[2] < until and not any(day.iterdir()):
            day.rmdir()
    return len(old)


def _small_runs(files: list[LabelFile]) -> list[list[LabelFile]]:
    """Find runs of neighbours that are small: a merged file must span no file that stays."""
    runs = groupby(files, key=lambda file: file.path.stat().st_size < LARGE_BYTES)
    return [list(run) for small, run in runs if small]


def _merge(folder: Path, files: list[LabelFile]) -> None:
    first, last = files[0], files[-1]
    write(path_of(folder, first.date, first.partition, first.first, last.last), _tables(files))
    remove(folder, [file.path for file in files])


def _tables(files: list[LabelFile]) -> Iterator[pa.Table]:
    """Rows of the files in their order, a row group's worth at a time: memory does not grow with the day."""
    waiting: list[pa.Table] = []
    for file in files:
        with pq.ParquetFile(file.path) as opened:
            for batch in opened.iter_batches(ROWS_A_GROUP):
                waiting.append(conformed(pa.Table.from_batches([batch])))
                if sum(map(len, waiting)) >= ROWS_A_GROUP:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()
