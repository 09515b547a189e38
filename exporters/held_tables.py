"""Every table at one time: arrays, the stamp of each row, and which item sits where. Not safe for threads by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters import table_digest
from exporters.deltas import CATALOG, FEATURES, PURGE, SHARED, VECTORS, Row
from exporters.errors import TableError
from exporters.row_catalog import FIRST_ROW, RowCatalog
from exporters.row_writes import Block, RowRules, blocks_of
from exporters.table_arrays import grown, places_of
from online_models.neighbours import NeighbourTable

_PARTS: dict[str, type[np.generic]] = {"items": np.int32, "weights": np.float32}


class HeldTables:
    """Vectors [R, D], features [R, G] and neighbour lists of the rows of one catalogue.

    One thread writes. What readers must not see half done happens inside a *switch*, which the caller gives: a lock
    where somebody reads, nothing where nobody does yet. Everything that can be made ready before it, is.

    Parameters
    ----------
    rows
        Rows at the start.
    rules
        Widths and names.
    width
        M, neighbours of a row.

    Attributes
    ----------
    changed
        Rows whose vector or item has changed; whoever follows them empties it.

    Examples
    --------
    >>> from contextlib import nullcontext
    >>> rules = RowRules(widths={"item_vectors": 2, "item_features": 1}, sources=(), row_limit=100)
    >>> held = HeldTables(4, rules, width=1)
    >>> held.load({"item_vectors": np.ones((3, 2), np.float32)}, [None, None, "a"], 1, nullcontext())
    >>> held.catalog.row("a"), held.vectors[2].tolist()
    (2, [1.0, 1.0])
    """

    def __init__(self, rows: int, rules: RowRules, width: int) -> None:
        self.rules, self.width = rules, width
        self.vectors = np.zeros((rows, rules.widths[VECTORS]), np.float32)  # [R, D]
        self.features = np.zeros((rows, rules.widths[FEATURES]), np.float32)  # [R, G]
        self.neighbours = {name: NeighbourTable(rows, width) for name in rules.sources}  # [R, M] each
        self.catalog = RowCatalog(rows)
        self.changed: set[int] = set()
        self._steps = {name: np.full(rows, -1, np.int64) for name in (VECTORS, FEATURES, *rules.sources)}  # [R] each
        self._floor = 0  # rows older than the floor are of a lineage that was left

    def __len__(self) -> int:
        """Return the number of rows that there is room for."""
        return len(self.vectors)

    def write(self, rows: Sequence[Row], switch: AbstractContextManager[Any]) -> list[Row]:
        """Write sound rows inside a switch; returns those that changed something."""
        rows = [row for row in rows if row.stamp >= self._floor]
        if not rows:
            return []
        blocks = blocks_of(rows, self.rules, self.width)
        named = np.ones(len(rows), np.bool_)
        written = np.array([row.table in (CATALOG, PURGE) for row in rows], np.bool_)
        last = 1 + max(row.row for row in rows)
        plain = last <= len(self) and all(self._is_plain(row) for row in rows)
        parts = [self._part(block, named) for block in blocks] if plain else []  # nobody else writes meanwhile
        with switch:
            if not plain:
                self._grow_to(last)
                named = self._assign(rows)
                parts = [self._part(block, named) for block in blocks]
            for part in parts:
                self._put(part)
            self._scrub()
        for part in parts:
            written[part.places] = True
        return [row for row, counts in zip(rows, (written & named).tolist(), strict=True) if counts]

    def load(
        self,
        arrays: Mapping[str, NDArray[Any]],
        item_ids: Sequence[str | None],
        step: int,
        switch: AbstractContextManager[Any],
    ) -> None:
        """Take over a version's tables and catalogue whole, inside a switch; ``step`` is their stamp.

        Tables that the version does not carry keep the rows whose item stays the same. Arrays that have the right type
        and length already are kept as they are, and belong to these tables from then on.

        Raises
        ------
        TableError
            A table has another width; nothing has changed then.
        """
        rows = max([len(self), len(item_ids), *(len(array) for array in arrays.values())])
        fresh = {name: self._fitted(name, array, rows) for name, array in arrays.items()}
        with switch:
            self._grow_to(rows)
            left = self.catalog.replace(item_ids, step)
            carried = {name.split(".")[0] for name in fresh}
            self._clear(left, [name for name in self._steps if name not in carried])
            for name, array in fresh.items():
                self._put_array(name, array)
            for name in carried:
                self._steps[name][:] = step
            self.changed.update(range(FIRST_ROW, rows))

    def digest(self, table: str) -> NDArray[np.uint64]:
        """Digest of a table by bucket of rows (:mod:`exporters.table_digest`)."""
        if table in self.neighbours:
            held = self.neighbours[table]
            rows = np.arange(len(held.items))
            return table_digest.bucket_sums(table_digest.neighbour_digests(held.items, held.weights, rows), rows)
        rows = self.catalog.live_rows()
        if table == CATALOG:
            ids = [self.catalog.item_id(int(row)) for row in rows]
            return table_digest.bucket_sums(table_digest.id_digests(ids, rows), rows)
        values = self.vectors if table == VECTORS else self.features
        return table_digest.bucket_sums(table_digest.row_digests(values[rows], rows), rows)

    def _is_plain(self, row: Row) -> bool:
        """Whether a row says nothing new of the catalogue."""
        if row.table in (CATALOG, PURGE):
            return False
        return row.item_id == SHARED or self.catalog.row(row.item_id) == row.row

    def _assign(self, rows: list[Row]) -> NDArray[np.bool_]:
        """Follow what rows say of the catalogue, in order; returns which of them still count at the end, [K]."""
        counts = np.ones(len(rows), np.bool_)
        for place, row in enumerate(rows):
            if row.table == PURGE:
                freed: list[int] | None = self._purge(row.stamp)
            else:
                freed = [] if row.item_id == SHARED else self.catalog.assign(row.item_id, row.row, row.stamp)
            counts[place] = freed is not None
            if freed:
                self._clear(freed, self._steps)
        for place, row in enumerate(rows):
            if row.table not in (CATALOG, PURGE) and row.item_id != SHARED:
                counts[place] &= self.catalog.row(row.item_id) == row.row
        return counts

    def _part(self, block: Block, counts: NDArray[np.bool_]) -> Block:
        """Leave out what is older than what is held, or is not named any more."""
        return block.where(counts[block.places] & block.fresh(self._steps[block.table][block.rows]))

    def _put(self, block: Block) -> None:
        self._steps[block.table][block.rows] = block.stamps
        items = block.rows >= FIRST_ROW
        self.catalog.touch(block.rows[items], block.stamps[items])
        for array, content in zip(self._arrays(block.table), block.content, strict=True):
            array[block.rows] = content
        if block.table == VECTORS:
            self.changed.update(block.rows.tolist())

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
                self.changed.update(old.tolist())
        return self.catalog.purge(stamp)

    def _clear(self, rows: list[int], tables: Iterable[str]) -> None:
        """Forget what some tables said of the items that rows held."""
        for name in tables:
            self._steps[name][rows] = -1
            for array in self._arrays(name):
                array[rows] = 0
        self.changed.update(rows)

    def _scrub(self) -> None:
        """Take rows that changed their item out of other items' lists, where the list is older than the change."""
        freed = self.catalog.take_freed()
        if not freed:
            return
        for name, table in self.neighbours.items():
            width = table.items.shape[1]
            places = places_of(table.items, list(freed))  # [P] into [R * M]
            freed_at = np.array([freed[item] for item in table.items.ravel()[places].tolist()], np.int64)
            gone = places[freed_at > self._steps[name][places // width]]
            table.items.ravel()[gone], table.weights.ravel()[gone] = 0, 0

    def _grow_to(self, rows: int) -> None:
        if rows <= len(self):
            return
        size = max(rows, 2 * len(self))
        self.vectors, self.features = grown(self.vectors, size, 0), grown(self.features, size, 0)
        self._steps = {name: grown(steps, size, -1) for name, steps in self._steps.items()}
        self.catalog.grow(size)
        for table in self.neighbours.values():
            table.grow(size)

    def _fitted(self, name: str, array: NDArray[Any], rows: int) -> NDArray[Any]:
        source, _, part = name.partition(".")
        width = self.width if source in self.neighbours and part in _PARTS else self.rules.widths.get(name)
        if width is None or array.ndim != 2 or array.shape[1] != width:
            expected = "no such table" if width is None else f"[rows, {width}]"
            raise TableError(f"table {name!r} has shape {list(array.shape)}; this server holds {expected}")
        typed = np.require(array, _PARTS.get(part, np.float32), ["C", "W"])
        return typed if len(typed) == rows else grown(typed, rows, 0)

    def _put_array(self, name: str, array: NDArray[Any]) -> None:
        array = array if len(array) == len(self) else grown(array, len(self), 0)
        if name in (VECTORS, FEATURES):
            setattr(self, "vectors" if name == VECTORS else "features", array)
        else:
            source, _, part = name.partition(".")
            setattr(self.neighbours[source], part, array)
