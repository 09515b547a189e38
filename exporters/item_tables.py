"""The server's mirror of the trainer's tables, kept up to date row by row.

One thread writes, many request threads read. Everything that changes together changes under one lock, so a reader never
finds a vector under another item's id; :meth:`ItemTables.reading` holds that lock over several reads, and
:meth:`ItemTables.consistent` reads again where something was written meanwhile. What is held at one time is a
:class:`~exporters.held_tables.HeldTables`, so that a version's tables are made beside those that serve, and only then
take their place.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporters.deltas import CATALOG, FEATURES, VECTORS, Row
from exporters.held_tables import HeldTables
from exporters.row_catalog import FIRST_ROW
from exporters.row_writes import RowRules
from exporters.table_arrays import ShownNeighbours
from online_models.neighbours import NeighbourTable

_OPTIMISTIC_READS = 2
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
        self._lock, self._writing = threading.RLock(), threading.RLock()  # who needs both takes the second one first
        self._rules = RowRules(
            widths={VECTORS: dimension, FEATURES: feature_count}, sources=sources, row_limit=row_limit
        )
        self._stream = HeldTables(max(capacity, FIRST_ROW), self._rules, width)
        self._shown = self._stream
        self.neighbours = {name: ShownNeighbours(partial(self._lists, name), self._lock) for name in sources}
        self._on_applied, self._clock_ms = on_applied, clock_ms
        self.generation = 0  # grows with everything that readers see change
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of rows that there is room for."""
        return len(self._shown)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Vectors of all rows, [R, D]."""
        return self._shown.vectors

    @property
    def features(self) -> NDArray[np.float32]:
        """Features of all rows, [R, G]."""
        return self._shown.features

    @property
    def pinned(self) -> bool:
        """Whether readers see a version's tables instead of the stream's."""
        return self._shown is not self._stream

    @property
    def table_names(self) -> tuple[str, ...]:
        """Tables that :meth:`digest` knows."""
        return (CATALOG, VECTORS, FEATURES, *self._rules.sources)

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
        return self._shown.catalog.row(item_id)

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Rows of items [K]; 1 where an item has none."""
        with self._lock:
            return np.array(self._shown.catalog.rows(item_ids), np.int64)

    def item_ids(self, rows: NDArray[np.integer]) -> list[str | None]:
        """Ids of rows [K]; None where a row holds no item."""
        with self._lock:
            return self._shown.catalog.item_ids(rows)

    def item_id(self, row: int) -> str | None:
        """Id of a row; None where it holds no item."""
        return self._shown.catalog.item_id(row)

    @property
    def catalog_state(self) -> int:
        """Number that is another one whenever an item has come to a row, or left one."""
        return self._shown.catalog.state

    def holding(self) -> NDArray[np.bool_]:
        """Whether each row holds an item, [R]; a copy."""
        with self._lock:
            return self._shown.catalog.held.copy()

    def live_rows(self) -> NDArray[np.int64]:
        """Rows that hold an item, in order."""
        with self._lock:
            return self._shown.catalog.live_rows()

    def gather_vectors(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors of rows [K] -> [K, D]; zeros past the end."""
        with self._lock:
            return self._shown.vectors.take(np.where(rows < len(self), rows, 0), axis=0)

    def gather_features(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Features of rows [K] -> [K, G]; zeros past the end."""
        with self._lock:
            return self._shown.features.take(np.where(rows < len(self), rows, 0), axis=0)

    def take_changed(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Take what has changed in the stream's tables since the last call, whether they are shown or not.

        Returns
        -------
        tuple
            Rows whose vector or item has changed [K], their vectors [K, D], whether each holds an item [K].
        """
        with self._lock:
            held = self._stream
            rows = np.array(sorted(held.changed), np.int64)
            held.changed.clear()
            return rows, held.vectors[rows], held.catalog.held[rows]

    def apply(self, rows: Iterable[Row]) -> int:
        """Apply row deltas, all of them in one switch; returns how many changed something.

        A row older (by its stamp) than what is held for it changes nothing; broken ones are counted in
        :attr:`refused`.
        """
        with self._writing:
            sound = [row for row in rows if self._is_sound(row)]
            applied = self._stream.write(sound, self._changing())
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
            self._stream.load(arrays, item_ids, step, self._changing())

    def of_version(self, arrays: Mapping[str, NDArray[Any]], item_ids: Sequence[str | None], step: int) -> HeldTables:
        """Make a version's tables, for :meth:`pin`; nobody waits, and nothing that is shown changes.

        Raises
        ------
        TableError
            When a table has another width than this server was set up with.
        """
        held = HeldTables(max(len(item_ids), FIRST_ROW), self._rules, self._stream.width)
        held.load(arrays, item_ids, step, nullcontext())
        return held

    def pin(self, held: HeldTables) -> None:
        """Show a version's tables, whatever arrives, until :meth:`unpin`; what arrives is kept behind them."""
        with self._changing():
            self._shown = held

    def unpin(self) -> None:
        """Show the stream's tables again, exactly as they would be without the pin."""
        with self._changing():
            self._shown = self._stream

    def digest(self, table: str) -> NDArray[np.uint64]:
        """Digest of a table of the stream, by bucket of rows (:mod:`exporters.table_digest`)."""
        with self._writing:  # nobody else writes, so readers need not wait
            return self._stream.digest(table)

    def _lists(self, table: str) -> NeighbourTable:
        return self._shown.neighbours[table]

    def _is_sound(self, row: Row) -> bool:
        problem = self._rules.problem(row)
        if problem:
            self.refused[problem] += 1
        return not problem

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep readers out, and let those who read before read again."""
        with self._lock:
            try:
                yield
            finally:
                self.generation += 1
