"""The server's mirror of the trainer's tables, kept up to date row by row.

One thread writes, many request threads read. Everything that changes together changes under one lock, so a reader never
finds a vector under another item's id; :meth:`ItemTables.reading` holds that lock over several reads, and
:meth:`ItemTables.consistent` reads again where something was written meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporters import table_digest
from exporters.deltas import CATALOG, FEATURES, PURGE, SHARED, VECTORS, Row
from exporters.errors import TableError
from exporters.row_catalog import FIRST_ROW, RowCatalog
from exporters.row_writes import Block, RowRules, blocks_of
from exporters.table_arrays import GuardedNeighbours, grown, places_of

_OPTIMISTIC_READS = 2
_PARTS: dict[str, type[np.generic]] = {"items": np.int32, "weights": np.float32}
T = TypeVar("T")


class ItemTables:
    """Vectors [R, D], features [R, G] and neighbour lists of every catalogue row, with the ids of the rows.

    Row 0 is padding, row 1 the unknown item. Tables double when a row lies past their end. While a version is pinned
    (:meth:`pin`), readers see that version's tables, and the stream goes on in tables behind them.

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
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._rules = RowRules(
            widths={VECTORS: dimension, FEATURES: feature_count}, sources=frozenset(sources), row_limit=row_limit
        )
        self._width, self._floor = width, 0  # rows older than the floor are of a lineage that was left
        self.neighbours = {name: GuardedNeighbours(0, width, self._lock) for name in sources}
        self._blank(max(capacity, FIRST_ROW))
        self._on_applied, self._clock_ms = on_applied, clock_ms
        self._changed: set[int] = set()
        self._living: ItemTables | None = None
        self.generation = 0  # grows with everything that is written
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of rows that there is room for."""
        return len(self.vectors)

    @property
    def pinned(self) -> bool:
        """Whether readers see a version's tables instead of the stream's."""
        return self._living is not None

    @property
    def table_names(self) -> tuple[str, ...]:
        """Tables that :meth:`digest` knows."""
        return (CATALOG, *self._steps)

    @contextmanager
    def reading(self) -> Iterator[ItemTables]:
        """Keep writers out while several things are read that must belong together."""
        with self._lock:
            yield self

    def consistent(self, read: Callable[[], T]) -> T:
        """Read several things that must belong together, without keeping anybody out.

        Where a batch of rows was written meanwhile, everything is read again; the third time, writers wait.
        """
        for _ in range(_OPTIMISTIC_READS):
            before = self.generation
            found = read()
            if before == self.generation:
                return found
        with self._lock:
            return read()

    def row(self, item_id: str) -> int:
        """Row of an item; 1 (unknown) where it has none."""
        return self._catalog.row(item_id)

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of items [K]; 1 where an item has none."""
        with self._lock:
            return np.array(self._catalog.rows(item_ids), np.int64)

    def item_ids(self, rows: NDArray[np.integer]) -> list[str | None]:
        """Ids of rows [K]; None where a row holds no item."""
        with self._lock:
            return self._catalog.item_ids(rows)

    def item_id(self, row: int) -> str | None:
        """Id of a row; None where it holds no item."""
        return self._catalog.item_id(row)

    @property
    def catalog_state(self) -> int:
        """Number that is another one whenever an item has come to a row, or left one."""
        return self._catalog.state

    def holding(self) -> NDArray[np.bool_]:
        """Whether each row holds an item, [R]; a copy."""
        with self._lock:
            return self._catalog.held.copy()

    def live_rows(self) -> NDArray[np.int64]:
        """Rows that hold an item, in order."""
        with self._lock:
            return self._catalog.live_rows()

    def gather_vectors(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors of rows [K] -> [K, D]; zeros past the end."""
        with self._lock:
            return self.vectors.take(np.where(rows < len(self), rows, 0), axis=0)

    def gather_features(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Features of rows [K] -> [K, G]; zeros past the end."""
        with self._lock:
            return self.features.take(np.where(rows < len(self), rows, 0), axis=0)

    def take_changed(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Rows whose vector changed since the last call [K], the vectors [K, D], whether a row holds an item [K]."""
        with self._lock:
            rows = np.array(sorted(self._changed), np.int64)
            self._changed.clear()
            live = np.array([self._catalog.item_id(int(row)) is not None for row in rows], np.bool_)
            return rows, self.vectors[rows], live

    def apply(self, rows: Iterable[Row]) -> int:
        """Apply row deltas, all of them in one switch; returns how many changed something.

        A row older (by its stamp) than what is held for it changes nothing; broken ones are counted in
        :attr:`refused`.
        """
        with self._writing:
            sound = [row for row in rows if self._is_sound(row)]
            applied = (self._living or self)._write(sound) if sound else []
        now_ms = self._clock_ms()
        ages_ms = [float(now_ms - row.oldest_ms) for row in applied if row.oldest_ms]
        if ages_ms and self._on_applied is not None:
            self._on_applied(ages_ms)
        return len(applied)

    def load(self, arrays: Mapping[str, NDArray[Any]], item_ids: Sequence[str | None], step: int) -> None:
        """Take over a version's tables and catalogue whole, in one switch; ``step`` is their stamp.

        Tables that the version does not carry keep the rows whose item stays the same.

        Raises
        ------
        TableError
            When a table has another width than this server was set up with; nothing has changed then.
        """
        with self._writing:
            (self._living or self)._load(arrays, item_ids, step)

    def pin(self, arrays: Mapping[str, NDArray[Any]], item_ids: Sequence[str | None], step: int) -> None:
        """Show a version's tables, whatever arrives, until :meth:`unpin`; what arrives is kept behind them.

        Raises
        ------
        TableError
            When a table has another width; nothing has changed then.
        """
        with self._writing:
            for name, array in arrays.items():
                self._fitted(name, array, len(array))
            with self._lock:
                if self._living is None:
                    self._living = self._like()
                    self._living._adopt(self)
                self._blank(max(len(self), len(item_ids)))
                self._load(arrays, item_ids, step)

    def unpin(self) -> None:
        """Show the stream's tables again, exactly as they would be without the pin."""
        with self._writing:
            if self._living is None:
                return
            with self._lock:
                self._adopt(self._living)
                self._living = None
                self._changed.update(range(FIRST_ROW, len(self)))
                self.generation += 1

    def digest(self, table: str) -> NDArray[np.uint64]:
        """Digest of a table of the stream, by bucket of rows (:mod:`exporters.table_digest`)."""
        with self._writing:  # nobody else writes, so readers need not wait
            return (self._living or self)._digest(table)

    def _digest(self, table: str) -> NDArray[np.uint64]:
        if table in self.neighbours:
            held = self.neighbours[table]
            rows = np.arange(len(held.items))
            return table_digest.bucket_sums(table_digest.neighbour_digests(held.items, held.weights, rows), rows)
        rows = self._catalog.live_rows()
        if table == CATALOG:
            ids = [self._catalog.item_id(int(row)) for row in rows]
            return table_digest.bucket_sums(table_digest.id_digests(ids, rows), rows)
        values = self.vectors if table == VECTORS else self.features
        return table_digest.bucket_sums(table_digest.row_digests(values[rows], rows), rows)

    def _is_sound(self, row: Row) -> bool:
        problem = self._rules.problem(row)
        if problem:
            self.refused[problem] += 1
        return not problem

    def _write(self, rows: list[Row]) -> list[Row]:
        rows = [row for row in rows if row.stamp >= self._floor]
        if not rows:
            return []
        blocks = blocks_of(rows, self._rules, self._width)
        named = np.ones(len(rows), np.bool_)
        written = np.array([row.table in (CATALOG, PURGE) for row in rows], np.bool_)
        last = 1 + max(row.row for row in rows)
        plain = last <= len(self) and all(self._is_plain(row) for row in rows)
        parts = [self._part(block, named) for block in blocks] if plain else []  # nobody else writes meanwhile
        with self._lock:
            if not plain:
                self._grow_to(last)
                named = self._assign(rows)
                parts = [self._part(block, named) for block in blocks]
            for part in parts:
                self._put(part)
            self._scrub()
            self.generation += 1
        for part in parts:
            written[part.places] = True
        return [row for row, counts in zip(rows, (written & named).tolist(), strict=True) if counts]

    def _is_plain(self, row: Row) -> bool:
        """Whether a row says nothing new of the catalogue."""
        if row.table in (CATALOG, PURGE):
            return False
        return row.item_id == SHARED or self._catalog.row(row.item_id) == row.row

    def _assign(self, rows: list[Row]) -> NDArray[np.bool_]:
        """Follow what rows say of the catalogue, in order; returns which of them still count at the end, [K]."""
        counts = np.ones(len(rows), np.bool_)
        for place, row in enumerate(rows):
            if row.table == PURGE:
                freed: list[int] | None = self._purge(row.stamp)
            else:
                freed = [] if row.item_id == SHARED else self._catalog.assign(row.item_id, row.row, row.stamp)
            counts[place] = freed is not None
            for old in freed or ():
                self._clear(old)
        for place, row in enumerate(rows):
            if row.table not in (CATALOG, PURGE) and row.item_id != SHARED:
                counts[place] &= self._catalog.row(row.item_id) == row.row
        return counts

    def _part(self, block: Block, counts: NDArray[np.bool_]) -> Block:
        """Leave out what is older than what is held, or is not named any more."""
        return block.where(counts[block.places] & block.fresh(self._steps[block.table][block.rows]))

    def _put(self, block: Block) -> None:
        self._steps[block.table][block.rows] = block.stamps
        items = block.rows >= FIRST_ROW
        self._catalog.touch(block.rows[items], block.stamps[items])
        for array, content in zip(self._arrays(block.table), block.content, strict=True):
            array[block.rows] = content
        if block.table == VECTORS:
            self._changed.update(block.rows.tolist())

    def _arrays(self, table: str) -> tuple[NDArray[Any], ...]:
        if table in self.neighbours:
            return self.neighbours[table].items, self.neighbours[table].weights
        return (self.vectors if table == VECTORS else self.features,)

    def _purge(self, stamp: int) -> list[int]:
        """Forget what was last named before ``stamp``, and take nothing as old from now on."""
        self._floor = max(self._floor, stamp)
        for name, steps in self._steps.items():
            old = np.flatnonzero((steps >= 0) & (steps < stamp))
            steps[old] = -1
            for array in self._arrays(name):
                array[old] = 0
            if name == VECTORS:
                self._changed.update(old.tolist())
        return self._catalog.purge(stamp)

    def _clear(self, row: int) -> None:
        """Forget what a row said of the item that it held."""
        for name, steps in self._steps.items():
            steps[row] = -1
            for array in self._arrays(name):
                array[row] = 0
        self._changed.add(row)

    def _scrub(self) -> None:
        """Take rows that changed their item out of other items' lists, where the list is older than the change."""
        freed = self._catalog.take_freed()
        if not freed:
            return
        for name, table in self.neighbours.items():
            width = table.items.shape[1]
            places = places_of(table.items, list(freed))  # [P] into [R * M]
            freed_at = np.array([freed[item] for item in table.items.ravel()[places].tolist()], np.int64)
            gone = places[freed_at > self._steps[name][places // width]]
            table.items.ravel()[gone], table.weights.ravel()[gone] = 0, 0

    def _blank(self, rows: int) -> None:
        """Start with empty tables of their own."""
        self.vectors = np.zeros((rows, self._rules.widths[VECTORS]), np.float32)  # [R, D]
        self.features = np.zeros((rows, self._rules.widths[FEATURES]), np.float32)  # [R, G]
        for table in self.neighbours.values():
            table.items = np.zeros((rows, self._width), np.int32)  # [R, M]
            table.weights = np.zeros((rows, self._width), np.float32)
        self._steps = {name: np.full(rows, -1, np.int64) for name in (VECTORS, FEATURES, *self.neighbours)}  # [R] each
        self._catalog = RowCatalog(rows)
        self._floor = 0

    def _like(self) -> ItemTables:
        widths = self._rules.widths
        return ItemTables(
            0, widths[VECTORS], widths[FEATURES], tuple(self.neighbours), self._width, row_limit=self._rules.row_limit
        )

    def _adopt(self, other: ItemTables) -> None:
        """Take another one's tables for one's own; it must not be written any more."""
        self.vectors, self.features = other.vectors, other.features
        for name, table in self.neighbours.items():
            table.items, table.weights = other.neighbours[name].items, other.neighbours[name].weights
        self._steps, self._catalog, self._floor = other._steps, other._catalog, other._floor

    def _load(self, arrays: Mapping[str, NDArray[Any]], item_ids: Sequence[str | None], step: int) -> None:
        rows = max([len(self), len(item_ids), *(len(array) for array in arrays.values())])
        fresh = {name: self._fitted(name, array, rows) for name, array in arrays.items()}
        with self._lock:
            self._grow_to(rows)
            for row in self._catalog.replace(item_ids, step):
                self._clear(row)
            for name, array in fresh.items():
                self._put_array(name, array)
                self._steps[name.split(".")[0]][:] = step
            self._changed.update(range(FIRST_ROW, rows))
            self.generation += 1

    def _grow_to(self, rows: int) -> None:
        if rows <= len(self):
            return
        size = max(rows, 2 * len(self))
        self.vectors, self.features = grown(self.vectors, size, 0), grown(self.features, size, 0)
        self._steps = {name: grown(steps, size, -1) for name, steps in self._steps.items()}
        self._catalog.grow(size)
        for table in self.neighbours.values():
            table.grow(size)

    def _fitted(self, name: str, array: NDArray[Any], rows: int) -> NDArray[Any]:
        source, _, part = name.partition(".")
        width = self._width if source in self.neighbours and part in _PARTS else self._rules.widths.get(name)
        if width is None or array.ndim != 2 or array.shape[1] != width:
            expected = "no such table" if width is None else f"[rows, {width}]"
            raise TableError(f"table {name!r} has shape {list(array.shape)}; this server holds {expected}")
        return grown(np.asarray(array, _PARTS.get(part, np.float32)), rows, 0)

    def _put_array(self, name: str, array: NDArray[Any]) -> None:
        array = grown(array, len(self), 0)
        if name == VECTORS:
            self.vectors = array
        elif name == FEATURES:
            self.features = array
        else:
            source, _, part = name.partition(".")
            setattr(self.neighbours[source], part, array)
