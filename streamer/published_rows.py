"""What servers hold if they have applied every row that was published: digests of it, without a copy of the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from exporters import table_digest
from exporters.deltas import CATALOG, FEATURES, VECTORS, Row
from online_models.neighbours import NeighbourTable


class PublishedRows:
    """Follows the rows of one trainer as they go out.

    Parameters
    ----------
    rows
        R, rows of the catalogue.
    lists
        The neighbour lists as published; kept by the student, which a version is made from too.

    Examples
    --------
    >>> published = PublishedRows(8, {})
    >>> published.note([Row(table="item_vectors", item_id="a", row=3, step=1, values=bytes(8))])
    >>> published.forget([3]), published.take_withdrawn(), published.take_withdrawn()
    (None, ['a'], [])
    """

    def __init__(self, rows: int, lists: Mapping[str, NeighbourTable]) -> None:
        self._lists = lists
        self._ids: list[str | None] = [None] * rows
        self._digests = {name: np.zeros(rows, np.uint64) for name in (VECTORS, FEATURES)}  # [R] each
        self._withdrawn: dict[str, int] = {}

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that have a digest."""
        return (CATALOG, VECTORS, FEATURES, *self._lists)

    def note(self, rows: Iterable[Row]) -> None:
        """Take over rows that go out now."""
        content: dict[str, list[Row]] = {}
        for row in rows:
            if row.row >= 0 and row.table not in self._lists:
                self._ids[row.row] = row.item_id
                content.setdefault(row.table, []).append(row)
            elif row.table in self._lists and row.row >= 0 and row.item_id != "*":
                self._ids[row.row] = row.item_id
        for table in content.keys() & self._digests.keys():
            own = content[table]
            places = np.array([row.row for row in own])
            values = np.stack([row.value_array() for row in own])  # [K, W]
            self._digests[table][places] = table_digest.row_digests(values, places)

    def forget(self, rows: Iterable[int]) -> None:
        """Take out rows whose item has left; their items are to be withdrawn from the servers."""
        for row in rows:
            item_id, self._ids[row] = self._ids[row], None
            if item_id is not None:
                self._withdrawn[item_id] = row
            for digests in self._digests.values():
                digests[row] = 0

    def take_withdrawn(self) -> list[str]:
        """Items that have left since the last call."""
        withdrawn, self._withdrawn = list(self._withdrawn), {}
        return withdrawn

    def digest(self, table: str) -> NDArray[np.uint64]:
        """Digest of a table by bucket of rows, as :meth:`exporters.item_tables.ItemTables.digest` gives it."""
        if table in self._lists:
            held = self._lists[table]
            rows = np.arange(len(held.items))
            return table_digest.bucket_sums(table_digest.neighbour_digests(held.items, held.weights, rows), rows)
        rows = np.array([row for row, item_id in enumerate(self._ids) if item_id is not None], np.int64)
        if table == CATALOG:
            return table_digest.bucket_sums(table_digest.id_digests([self._ids[row] for row in rows], rows), rows)
        return table_digest.bucket_sums(self._digests[table][rows], rows)
