"""Row deltas made ready to be written: checked, decoded and grouped by table, before any reader has to wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.deltas import CATALOG, PURGE, SHARED, Row
from exporters.row_catalog import FIRST_ROW


@dataclass(frozen=True, kw_only=True)
class RowRules:
    """What a row may be.

    Parameters
    ----------
    widths
        Values of a row, for the tables that hold values.
    sources
        Tables that hold neighbour lists.
    row_limit
        A row past this is refused: it is a broken message, not a large catalogue.
    """

    widths: dict[str, int]
    sources: tuple[str, ...]
    row_limit: int

    def problem(self, row: Row) -> str:
        """Name what is wrong with a row; empty where nothing is."""
        if row.table == PURGE:
            return ""
        if row.row >= self.row_limit:
            return "row_limit"
        if row.table == CATALOG:
            return "" if row.row == -1 or row.row >= FIRST_ROW else "reserved_row"
        if row.table not in self.widths and row.table not in self.sources:
            return "unknown_table"
        if row.row < (0 if row.item_id == SHARED else FIRST_ROW):
            return "reserved_row"
        return self._content_problem(row)

    def _content_problem(self, row: Row) -> str:
        if row.table in self.widths:
            if len(row.values) != 4 * self.widths[row.table]:
                return "wrong_length"
            return "" if np.isfinite(row.value_array()).all() else "not_finite"
        if len(row.weights) % 4 or len(row.neighbours) != len(row.weights):
            return "wrong_length"
        return "" if np.isfinite(row.neighbour_arrays()[1]).all() else "not_finite"


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of one table, in the order in which they came, with the places [K] that they had among all rows."""

    table: str
    places: NDArray[np.int64]  # [K]
    rows: NDArray[np.int64]  # [K]
    stamps: NDArray[np.int64]  # [K]
    content: tuple[NDArray[np.generic], ...]  # ([K, W],) or the items and weights of neighbour lists, [K, M] each

    def fresh(self, held: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows are no older than what is held [K], or than an earlier row of this block for the same place."""
        kept = self.stamps >= held
        if len(np.unique(self.rows)) < len(self.rows):
            newest: dict[int, int] = {}
            for place, (row, stamp) in enumerate(zip(self.rows.tolist(), self.stamps.tolist(), strict=True)):
                kept[place] &= stamp >= newest.get(row, stamp)
                newest[row] = max(stamp, newest.get(row, stamp))
        return kept

    def where(self, kept: NDArray[np.bool_]) -> Block:
        """Return the rows that are kept."""
        if kept.all():
            return self
        content = tuple(part[kept] for part in self.content)
        places, rows, stamps = self.places[kept], self.rows[kept], self.stamps[kept]
        return Block(table=self.table, places=places, rows=rows, stamps=stamps, content=content)


def blocks_of(rows: Sequence[Row], rules: RowRules, width: int) -> list[Block]:
    """Group sound rows by table; neighbour lists are padded or cut to ``width``."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.table not in (CATALOG, PURGE):
            places.setdefault(row.table, []).append(place)
    return [_block(table, found, rows, rules, width) for table, found in places.items()]


def _block(table: str, places: list[int], rows: Sequence[Row], rules: RowRules, width: int) -> Block:
    own = [rows[place] for place in places]
    content: tuple[NDArray[np.generic], ...]
    if table in rules.widths:
        joined = np.frombuffer(b"".join(row.values for row in own), "<f4")
        content = (joined.reshape(len(own), rules.widths[table]),)  # [K, W]
    else:
        content = _lists(own, width)
    return Block(
        table=table,
        places=np.array(places, np.int64),
        rows=np.array([row.row for row in own], np.int64),
        stamps=np.array([row.stamp for row in own], np.int64),
        content=content,
    )


def _lists(rows: Sequence[Row], width: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    items, weights = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), np.float32)  # [K, M]
    for place, row in enumerate(rows):
        own_items, own_weights = row.neighbour_arrays()
        items[place, : len(own_items)] = own_items[:width]
        weights[place, : len(own_weights)] = own_weights[:width]
    return items, weights
