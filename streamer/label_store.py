"""The label store as students read it: soft labels by example id or by time, from Parquet, without teacher or topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from streamer.errors import SourceError
from streamer.label_files import SCHEMA, LabelFile, files_of, from_table
from streamer.soft_labels import SoftLabel

Found = TypeVar("Found")
_PAUSE_SECONDS = 0.01
_ATTEMPTS = 5  # the writer may merge a file away between the listing and the reading


@dataclass(frozen=True, kw_only=True)
class StoreStats:
    """What lies in a label store."""

    rows: int
    files: int
    bytes: int
    days: dict[str, int]  # rows by day of labelling
    versions: dict[str, int]  # rows by version of the teacher
    recent: int  # labels of the last hour

    @property
    def bytes_per_label(self) -> float:
        """Disk space of one label, names of files and folders left out."""
        return self.bytes / self.rows if self.rows else 0.0


class LabelStore:
    """Reads the labels of one folder; any number of processes may, while one writes.

    Parameters
    ----------
    folder
        The label store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __bool__(self) -> bool:
        """Whether there is any label."""
        return next(iter(self.folder.glob("label_date=*/partition-*.parquet")), None) is not None

    def read(
        self, example_ids: Sequence[str], since_ms: int | None = None, until_ms: int | None = None
    ) -> dict[str, SoftLabel]:
        """Labels of these examples, by id; of several the one that was given last.

        Parameters
        ----------
        example_ids
            Which.
        since_ms, until_ms
            Only labels given between these times: days and row groups outside are not opened.

        Raises
        ------
        SourceError
            A file cannot be read.
        """
        wanted = pa.array(list(example_ids), pa.string())
        condition = _between(since_ms, until_ms) & pc.field("example_id").isin(wanted)
        table = self._table(since_ms, until_ms, condition)
        labels = sorted(from_table(table), key=lambda label: label.labelled_ms)
        return {label.example_id: label for label in labels}

    def scan(self, since_ms: int | None = None, until_ms: int | None = None) -> Iterator[list[SoftLabel]]:
        """All labels that were given between these times, in the order of the topic within a day and a partition.

        What the writer merges meanwhile is read once all the same.

        Raises
        ------
        SourceError
            A file cannot be read.
        """
        condition = _between(since_ms, until_ms)
        for date, partition in _places(files_of(self.folder, since_ms, until_ms)):
            yield from (from_table(table) for table in self._tables_of(date, partition, condition))

    def stats(self, now_ms: int) -> StoreStats:
        """Count what lies there."""
        days: dict[str, int] = {}
        versions: dict[str, int] = {}
        for date, partition in _places(files_of(self.folder)):
            for table in self._tables_of(date, partition, pc.scalar(True), ["version"]):
                days[date] = days.get(date, 0) + len(table)
                for found in pc.value_counts(table.column("version")).to_pylist():
                    versions[found["values"]] = versions.get(found["values"], 0) + found["counts"]
        sizes = self._sizes()
        recent = self._table(now_ms - 3_600_000, now_ms, _between(now_ms - 3_600_000, now_ms), ["labelled_ms"])
        return StoreStats(
            rows=sum(days.values()),
            files=len(sizes),
            bytes=sum(sizes),
            days=days,
            versions=versions,
            recent=len(recent),
        )

    def _table(
        self, since_ms: int | None, until_ms: int | None, condition: pc.Expression, columns: list[str] | None = None
    ) -> pa.Table:
        return _again(lambda: self._read_files(files_of(self.folder, since_ms, until_ms), condition, columns))

    def _tables_of(
        self, date: str, partition: int, condition: pc.Expression, columns: list[str] | None = None
    ) -> list[pa.Table]:
        """One table a file; all files of a place are read before any is given, for they may be merged meanwhile."""

        def read() -> list[pa.Table]:
            files = [file for file in files_of(self.folder) if (file.date, file.partition) == (date, partition)]
            return [self._read_files([file], condition, columns) for file in files]

        return _again(read)

    def _sizes(self) -> list[int]:
        def read() -> list[int]:
            try:
                return [file.path.stat().st_size for file in files_of(self.folder)]
            except FileNotFoundError as error:
                raise SourceError(f"labels in {self.folder} are being merged: {error}") from error

        return _again(read)

    def _read_files(
        self, files: list[LabelFile], condition: pc.Expression, columns: list[str] | None = None
    ) -> pa.Table:
        try:
            dataset = ds.dataset([str(file.path) for file in files], schema=SCHEMA, format="parquet")
            return dataset.to_table(filter=condition, columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"labels in {self.folder} cannot be read ({error}); restore the file, or move it out of the store"
            ) from error


def _again(read: Callable[[], Found]) -> Found:
    """Read, and read again from a new listing where a file has gone meanwhile."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except SourceError:
            time.sleep(_PAUSE_SECONDS)
    return read()


def _places(files: list[LabelFile]) -> list[tuple[str, int]]:
    return sorted({(file.date, file.partition) for file in files})


def _between(since_ms: int | None, until_ms: int | None) -> pc.Expression:
    time = pc.field("labelled_ms")
    condition = pc.scalar(True)
    if since_ms is not None:
        condition = condition & (time >= since_ms)
    if until_ms is not None:
        condition = condition & (time <= until_ms)
    return condition
