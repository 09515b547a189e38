"""Parquet files of feature rows, written in batches and put in place when they are complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.vectors import ITEM_NAMES, NAMES

_BATCH_ROWS = 20_000
_STAMP = ("event_timestamp", pa.timestamp("us", tz="UTC"))


def user_schema() -> Any:
    """Columns of ``users.parquet``; ``moment`` is ``before`` or ``after`` the event."""
    strings = [(name, pa.string()) for name in ("event_id", "item_id", "moment", "session_id")]
    numbers = [(name, pa.int64()) for name in ("session_number", "session_length", "session_started_ms")]
    features = [(name, pa.float64()) for name in NAMES[1:]]
    return pa.schema([("user_id", pa.string()), _STAMP, *strings, *numbers, *features])


def item_schema() -> Any:
    """Columns of ``items.parquet``."""
    return pa.schema([("item_id", pa.string()), _STAMP, *((name, pa.float64()) for name in ITEM_NAMES)])


class RowFile:
    """Context manager that writes rows to a Parquet file; the file appears only if the block ends well.

    Parameters
    ----------
    path
        File to write or replace.
    schema
        Its columns; a row lists their values in this order.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self._path = path
        self._fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._schema = schema
        self._rows: list[Sequence[Any]] = []

    def __enter__(self) -> RowFile:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._fresh, self._schema, compression="zstd")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self._write()
        self._writer.close()
        if kind is None:
            self._fresh.replace(self._path)
        else:
            self._fresh.unlink()

    def add(self, row: Sequence[Any]) -> None:
        """Add one row."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._write()

    def _write(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else ([] for _ in self._schema)
        arrays = [pa.array(list(values), field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []
