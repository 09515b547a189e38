"""The server's mirror of the trainer's tables, kept up to date row by row.

One consumer thread writes, many request threads read. Everything that changes together changes under one lock, so a
reader never finds a vector under another item's id; :meth:`ItemTables.reading` holds that lock over several reads.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.deltas import Row
from exporters.errors import TableError
from exporters.row_catalog import FIRST_ROW, RowCatalog
from online_models.neighbours import NeighbourTable

VECTORS, FEATURES, CATALOG = "item_vectors", "item_features", "catalog"
SHARED = "*"  # the item id of a table's single row for everybody
_CHUNK = 64  # rows applied under one hold of the lock: readers wait well below a millisecond


class GuardedNeighbours(NeighbourTable):
    """A neighbour table whose lookups wait for a row that is being written."""

    def __init__(self, rows: int, width: int, lock: threading.RLock) -> None:
        super().__init__(rows, width)
        self._lock = lock

    def lookup(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours and weights of rows [H] -> [H, M], [H, M]; rows past the end have none."""
        with self._lock:
            return super().lookup(rows)


class ItemTables:
    """Vectors [R, D], features [R, G] and neighbour lists of every catalogue row, with the ids of the rows.

    Row 0 is padding, row 1 the unknown item. Tables double when a row lies past their end.

    Parameters
    ----------
    capacity
        Rows at the start.
    dimension, feature_count
        D and G.
    sources
        Names of the counting sources that have neighbour lists.
    width
        M, neighbours of a row.
    row_limit
        A row past this is refused: it is a broken message, not a large catalogue.
    on_applied
        Called after each :meth:`apply` with the ages in milliseconds of the oldest events that its rows reflect.

    Examples
    --------
    >>> tables = ItemTables(capacity=4, dimension=2, feature_count=1, sources=(), width=1)
    >>> vector = np.array([3, 4], "<f4").tobytes()
    >>> tables.apply([Row(table="item_vectors", item_id="a", row=9, step=1, values=vector)])
    1
    >>> tables.row("a"), tables.gather_vectors(np.array([9]))[0].tolist()
    (9, [3.0, 4.0])
    """

    def __init__(
        self,
        capacity: int,
        dimension: int,
        feature_count: int,
        sources: tuple[str, ...],
        width: int,
        *,
        row_limit: int = 4_000_000,
        on_applied: Callable[[list[float]], None] | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        capacity = max(capacity, FIRST_ROW)
        self._lock = threading.RLock()
        self.vectors = np.zeros((capacity, dimension), np.float32)  # [R, D]
        self.features = np.zeros((capacity, feature_count), np.float32)  # [R, G]
        self.neighbours = {name: GuardedNeighbours(capacity, width, self._lock) for name in sources}
        self._steps = {name: np.full(capacity, -1, np.int64) for name in (VECTORS, FEATURES, *sources)}  # [R] each
        self._catalog = RowCatalog(capacity)
        self._row_limit, self._on_applied, self._clock_ms = row_limit, on_applied, clock_ms
        self._changed: set[int] = set()
        self._held_back: dict[bytes, Row] | None = None
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of rows that there is room for."""
        return len(self.vectors)

    @contextmanager
    def reading(self) -> Iterator[ItemTables]:
        """Keep writers out while several things are read that must belong together."""
        with self._lock:
            yield self

    def row(self, item_id: str) -> int:
        """Row of an item; 1 (unknown) where it has none."""
        return self._catalog.row(item_id)

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of items [K]; 1 where an item has none."""
        with self._lock:
            return np.fromiter((self._catalog.row(item_id) for item_id in item_ids), np.int64, len(item_ids))

    def item_ids(self, rows: NDArray[np.integer]) -> list[str | None]:
        """Ids of rows [K]; None where a row holds no item."""
        with self._lock:
            return [self._catalog.item_id(int(row)) for row in rows]

    def live_rows(self) -> NDArray[np.int64]:
        """Rows that hold an item, in order."""
        with self._lock:
            return self._catalog.live_rows()

    def gather_vectors(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors of rows [K] -> [K, D]; zeros past the end."""
        with self._lock:
            return self.vectors[np.where(rows < len(self), rows, 0)]

    def gather_features(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Features of rows [K] -> [K, G]; zeros past the end."""
        with self._lock:
            return self.features[np.where(rows < len(self), rows, 0)]

    def take_changed(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Rows whose vector changed since the last call [K], the vectors [K, D], whether a row holds an item [K]."""
        with self._lock:
            rows = np.array(sorted(self._changed), np.int64)
            self._changed.clear()
            live = np.array([self._catalog.item_id(int(row)) is not None for row in rows], np.bool_)
            return rows, self.vectors[rows], live

    def apply(self, rows: Iterable[Row]) -> int:
        """Apply row deltas; returns how many changed something.

        A row older (by its step) than what is held for it changes nothing; broken ones are counted in :attr:`refused`.
        """
        applied: list[Row] = []
        pending = iter(rows)
        while chunk := list(islice(pending, _CHUNK)):
            with self._lock:
                applied += [row for row in chunk if self._apply(row)]
                self._scrub()
        now_ms = self._clock_ms()
        ages_ms = [float(now_ms - row.oldest_ms) for row in applied if row.oldest_ms]
        if ages_ms and self._on_applied is not None:
            self._on_applied(ages_ms)
        return len(applied)

    def load(self, arrays: Mapping[str, NDArray[Any]], item_ids: Sequence[str | None], step: int) -> None:
        """Take over a version's tables and catalogue whole, in one switch.

        Tables that the version does not carry keep the rows whose item stays the same.

        Raises
        ------
        TableError
            When a table has another width than this server was set up with; nothing has changed then.
        """
        rows = max([len(self), len(item_ids), *(len(array) for array in arrays.values())])
        fresh = {name: self._fitted(name, array, rows) for name, array in arrays.items()}
        with self._lock:
            self._grow_to(rows)
            for row in self._catalog.replace(item_ids, step):
                self._clear(row)
            for name, array in fresh.items():
                self._put_array(name, array)
                self._steps[name.split(".")[0]][:] = step
            self._held_back = None
            self._changed.update(range(FIRST_ROW, rows))

    def restore_vectors(self, vectors: NDArray[np.float32], item_ids: Sequence[str | None]) -> None:
        """Take back an earlier version's vectors and keep them there, whatever arrives, until :meth:`thaw`.

        The catalogue, the features and the neighbour lists go on living: they belong to no version. An item that the
        version did not know has a zero vector. Vectors that arrive meanwhile are kept for later.
        """
        known = {item_id: row for row, item_id in enumerate(item_ids) if item_id is not None}
        earlier = self._fitted(VECTORS, vectors, max(len(vectors), FIRST_ROW))
        with self._lock:
            restored = np.zeros_like(self.vectors)
            restored[:FIRST_ROW] = earlier[:FIRST_ROW]
            for row in self._catalog.live_rows():
                place = known.get(self._catalog.item_id(int(row)) or "")
                if place is not None:
                    restored[row] = earlier[place]
            self.vectors = restored
            self._held_back = self._held_back or {}
            self._changed.update(range(FIRST_ROW, len(self)))

    def thaw(self) -> int:
        """Let vectors follow the stream again, starting with those that arrived meanwhile."""
        with self._lock:
            waiting, self._held_back = list((self._held_back or {}).values()), None
            self._steps[VECTORS][:] = -1
        return self.apply(waiting)

    def _apply(self, row: Row) -> bool:
        problem = self._problem(row)
        if problem:
            self.refused[problem] += 1
            return False
        self._grow_to(row.row + 1)
        if row.item_id == SHARED:
            return self._put(row)
        freed = self._catalog.assign(row.item_id, row.row, row.step)
        if freed is None:
            return False
        for place in freed:
            self._clear(place)
        return True if row.table == CATALOG else self._put(row)

    def _problem(self, row: Row) -> str:
        if row.row >= self._row_limit:
            return "row_limit"
        if row.table == CATALOG:
            return "" if row.row == -1 or row.row >= FIRST_ROW else "reserved_row"
        if row.table not in self._steps:
            return "unknown_table"
        if row.row < (0 if row.item_id == SHARED else FIRST_ROW):
            return "reserved_row"
        return self._content_problem(row)

    def _content_problem(self, row: Row) -> str:
        if row.table in (VECTORS, FEATURES):
            width = (self.vectors if row.table == VECTORS else self.features).shape[1]
            return _sized(row.values, width) or ("" if np.isfinite(row.value_array()).all() else "not_finite")
        if len(row.weights) % 4 or _sized(row.neighbours, len(row.weights) // 4):
            return "wrong_length"
        return "" if np.isfinite(row.neighbour_arrays()[1]).all() else "not_finite"

    def _put(self, row: Row) -> bool:
        if row.table == VECTORS and self._held_back is not None:
            self._held_back[row.key] = row
            return False
        steps = self._steps[row.table]
        if row.step < steps[row.row]:
            return False
        steps[row.row] = row.step
        if row.table == VECTORS:
            self.vectors[row.row] = row.value_array()
            self._changed.add(row.row)
        elif row.table == FEATURES:
            self.features[row.row] = row.value_array()
        else:
            self.neighbours[row.table].put(row.row, *row.neighbour_arrays())
        return True

    def _clear(self, row: int) -> None:
        """Forget what a row said of the item that it held."""
        self.vectors[row], self.features[row] = 0, 0
        for table in self.neighbours.values():
            table.items[row], table.weights[row] = 0, 0
        for steps in self._steps.values():
            steps[row] = -1
        self._changed.add(row)

    def _scrub(self) -> None:
        """Take rows that changed their item out of other items' lists, where the list is older than the change."""
        freed = self._catalog.take_freed()
        if not freed:
            return
        for name, table in self.neighbours.items():
            width = table.items.shape[1]
            places = _places(table.items, list(freed))  # [P] into [R * M]
            freed_at = np.array([freed[item] for item in table.items.ravel()[places].tolist()], np.int64)
            gone = places[freed_at > self._steps[name][places // width]]
            table.items.ravel()[gone], table.weights.ravel()[gone] = 0, 0

    def _grow_to(self, rows: int) -> None:
        if rows <= len(self):
            return
        size = max(rows, 2 * len(self))
        self.vectors, self.features = _grown(self.vectors, size, 0), _grown(self.features, size, 0)
        self._steps = {name: _grown(steps, size, -1) for name, steps in self._steps.items()}
        self._catalog.grow(size)
        for table in self.neighbours.values():
            table.grow(size)

    def _array(self, name: str) -> NDArray[Any] | None:
        if name in (VECTORS, FEATURES):
            return self.vectors if name == VECTORS else self.features
        source, _, part = name.partition(".")
        if source in self.neighbours and part in ("items", "weights"):
            return self.neighbours[source].items if part == "items" else self.neighbours[source].weights
        return None

    def _fitted(self, name: str, array: NDArray[Any], rows: int) -> NDArray[Any]:
        held = self._array(name)
        if held is None or array.ndim != 2 or array.shape[1] != held.shape[1]:
            expected = "no such table" if held is None else f"[rows, {held.shape[1]}]"
            raise TableError(f"table {name!r} has shape {list(array.shape)}; this server holds {expected}")
        return _grown(np.asarray(array, held.dtype), rows, 0)

    def _put_array(self, name: str, array: NDArray[Any]) -> None:
        array = _grown(array, len(self), 0)
        if name == VECTORS:
            self.vectors = array
        elif name == FEATURES:
            self.features = array
        else:
            source, _, part = name.partition(".")
            setattr(self.neighbours[source], part, array)


def _places(items: NDArray[np.int32], rows: list[int]) -> NDArray[np.intp]:
    """Flat places of some rows in neighbour lists; a few compares beat a set lookup of millions."""
    flat = items.ravel()
    if len(rows) <= 8:
        return np.concatenate([np.flatnonzero(flat == row) for row in rows])
    return np.flatnonzero(np.isin(flat, rows))


def _sized(content: bytes, width: int) -> str:
    return "" if len(content) == 4 * width else "wrong_length"


def _grown(array: NDArray[Any], rows: int, fill: int) -> NDArray[Any]:
    """Copy with room for ``rows``."""
    grown = np.full((max(rows, len(array)), *array.shape[1:]), fill, array.dtype)
    grown[: len(array)] = array
    return grown
