"""Event files: JSONL as it is published, CSV and Parquet with a mapping of columns to fields.

In a table a column that has the name of a field is that field; ``ColumnMap`` renames columns and sets constants. Two
names are understood besides the schema's: ``event_time_seconds`` (seconds since 1970) and ``event_time`` (ISO 8601, UTC
where it names no zone). Without ``event_id`` the file's name and the row make one; without ``type`` a row is an
interaction. Lists are JSON or separated by ``|``. Other columns are kept as unknown fields.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streamer.errors import EventError, SourceError
from streamer.events import KNOWN_FIELDS, Event, Limits, decode

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", "and .gz of the texts")
_TIME_FIELDS = ("event_time_seconds", "event_time")
_INTEGERS = frozenset({"event_time_ms", "published_time_ms", "schema_version"})
_FLOATS = frozenset({"value", "price", "event_time_seconds"})
_LISTS = frozenset({"items", "categories", "propensities", "source_scores", "context_features"})


@dataclass(frozen=True)
class ColumnMap:
    """How columns become fields.

    Examples
    --------
    >>> ColumnMap.parse(["user_id=uid"], ["action=view"])
    ColumnMap(columns={'user_id': 'uid'}, constants={'action': 'view'})
    """

    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, columns: list[str], constants: list[str]) -> ColumnMap:
        """Read ``FIELD=COLUMN`` and ``FIELD=VALUE`` pairs, as the commands take them.

        Raises
        ------
        SourceError
            Where a pair has no ``=`` or names a field that the schema does not have.
        """
        pairs = cls(dict(map(_pair, columns)), dict(map(_pair, constants)))
        for name in (*pairs.columns, *pairs.constants):
            if name not in KNOWN_FIELDS and name not in _TIME_FIELDS:
                allowed = ", ".join(sorted({*KNOWN_FIELDS, *_TIME_FIELDS}))
                raise SourceError(f"{name!r} is no field of an event; allowed are {allowed}")
        return pairs

    def apply(self, record: dict[str, Any]) -> dict[str, Any]:
        """Fields of a record: renamed, without empty cells, with the constants."""
        renamed = {column: name for name, column in self.columns.items()}
        fields = {renamed.get(column, column): cell for column, cell in record.items() if not _is_empty(cell)}
        return self.constants | fields


@dataclass(frozen=True)
class Line:
    """One line (or row) of a file: the event, or why it is none."""

    path: Path
    number: int  # from 1; in CSV the header is line 1
    event: Event | None = None
    error: EventError | None = None


def read_lines(path: Path, columns: ColumnMap | None = None, limits: Limits | None = None) -> Iterator[Line]:
    """Read a file line by line; lines that break the contract come with their error, not as an exception.

    Raises
    ------
    SourceError
        Where the file is missing, damaged or of an unknown kind.
    """
    kind = _kind_of(path)
    reader = _READERS.get(kind)
    if reader is None or not path.is_file():
        what = f"has the suffix {kind!r}" if reader is None else "is missing"
        raise SourceError(f"cannot read {path}: it {what}; event files end in {', '.join(SUFFIXES)}")
    try:
        for number, raw in reader(path, columns or ColumnMap()):
            yield _line(path, number, raw, limits)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise SourceError(f"cannot read {path}: {error}") from error


@dataclass(frozen=True)
class FileSource:
    """A file of events as a source: everything in it has to be good, and is put in order of time."""

    path: Path
    columns: ColumnMap = ColumnMap()
    limit: int | None = None
    simulated: bool = False

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def description(self) -> str:
        """The file's path."""
        return f"events of the file {self.path}"

    @property
    def event_count(self) -> int:
        """Interactions and impressions, up to the limit."""
        return len(self._events)

    def items(self) -> Iterator[Event]:
        """Events of type ``item``."""
        return (event for event in self._all if event.type == "item")

    def events(self) -> Iterator[Event]:
        """Interactions and impressions in order of time."""
        return iter(self._events)

    @cached_property
    def _events(self) -> list[Event]:
        return [event for event in self._all if event.type != "item"][: self.limit]

    @cached_property
    def _all(self) -> list[Event]:
        good: list[Event] = []
        bad: list[Line] = []
        for line in read_lines(self.path, self.columns):
            if line.event is not None:
                good.append(line.event)
            else:
                bad.append(line)
        if bad:
            raise SourceError(
                f"{len(bad)} lines of {self.path} break the contract, the first one is line {bad[0].number}: "
                f"{bad[0].error}. `headwater validate {self.path}` shows all."
            )
        return sorted(good, key=lambda event: event.event_time_ms)


def open_file(path: Path, columns: ColumnMap | None = None, limit: int | None = None) -> FileSource:
    """Open an event file as a source."""
    return FileSource(path, columns or ColumnMap(), limit)


RawLine = tuple[int, "bytes | EventError"]


def _line(path: Path, number: int, raw: bytes | EventError, limits: Limits | None) -> Line:
    if isinstance(raw, EventError):
        return Line(path, number, error=raw)
    try:
        return Line(path, number, event=decode(raw, limits))
    except EventError as error:
        return Line(path, number, error=error)


def _kind_of(path: Path) -> str:
    suffixes = path.suffixes
    return (suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else path.suffix).lower()


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_jsonl(path: Path, columns: ColumnMap) -> Iterator[RawLine]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if raw:
                yield number, raw if columns == ColumnMap() else _mapped_json(raw, columns)


def _mapped_json(raw: bytes, columns: ColumnMap) -> bytes | EventError:
    try:
        record = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return raw  # the door says what is wrong with it
    return _encode(columns.apply(record))


def _read_csv(path: Path, columns: ColumnMap) -> Iterator[RawLine]:
    with _open(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.DictReader(text, delimiter="\t" if _kind_of(path) == ".tsv" else ",")
        _check_header(path, list(reader.fieldnames or ()), columns)
        for row, record in enumerate(reader):
            if None in record:
                yield reader.line_num, EventError("wrong_type", "the row has more cells than the header")
            else:
                yield reader.line_num, _record(record, columns, f"{path.name}:{row}")


def _read_parquet(path: Path, columns: ColumnMap) -> Iterator[RawLine]:
    row = 0
    with pq.ParquetFile(path) as file:
        _check_header(path, file.schema_arrow.names, columns)
        for batch in file.iter_batches(batch_size=8_192):
            for record in batch.to_pylist():
                yield row + 1, _record(record, columns, f"{path.name}:{row}")
                row += 1


_READERS: dict[str, Callable[[Path, ColumnMap], Iterator[RawLine]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def _check_header(path: Path, names: list[str], columns: ColumnMap) -> None:
    missing = sorted(set(columns.columns.values()) - set(names))
    if missing:
        raise SourceError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")


def _record(record: dict[str, Any], columns: ColumnMap, event_id: str) -> bytes | EventError:
    fields = {"event_id": event_id, "type": "interaction"} | columns.apply(record)
    try:
        typed = {name: _typed(name, cell) for name, cell in fields.items()}
        return _encode(_with_time(typed))
    except EventError as error:
        return error
    except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
        return EventError("wrong_type", f"a cell cannot be read: {error}")


def _with_time(fields: dict[str, Any]) -> dict[str, Any]:
    seconds, moment = (fields.pop(name, None) for name in _TIME_FIELDS)
    if moment is not None:
        parsed = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
        seconds = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return fields if seconds is None else {"event_time_ms": round(seconds * 1_000)} | fields


def _typed(name: str, cell: Any) -> Any:
    """Give a cell the type of its field; what does not fit is an error of the row."""
    if name in _FLOATS:
        return _finite(name, float(cell))
    if name in _INTEGERS:
        return int(cell.timestamp() * 1_000) if isinstance(cell, datetime) else int(cell)
    if name in _LISTS:
        return _list(cell)
    if name == "available":
        return _boolean(cell)
    return _text(cell) if name in KNOWN_FIELDS else cell


def _finite(name: str, number: float) -> float:
    if not math.isfinite(number):
        raise EventError("nan_value", f"{name} is {number}; leave the cell empty where nothing is known")
    return number


def _list(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    return msgspec.json.decode(cell) if cell.startswith("[") else cell.split("|")


def _boolean(cell: Any) -> Any:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(cell).lower(), cell)


def _text(cell: Any) -> Any:
    # a column of ids with gaps is a column of floats to many writers
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _encode(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SourceError(f"{text!r} is no pair; write FIELD=COLUMN, for instance user_id=uid")
    return name, value
