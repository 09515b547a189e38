"""Which item sits in which row, as told by messages that may come late or twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

UNKNOWN_ROW = 1
FIRST_ROW = 2  # 0 is padding, 1 the unknown item

_states = itertools.count()  # of all catalogs: one may take the place of another


class RowCatalog:
    """Item ids and rows, each row with the step of the latest message about it.

    >>> catalog = RowCatalog(8)
    >>> catalog.assign("a", 5, step=10), catalog.assign("b", 5, step=20), catalog.assign("a", 5, step=10)
    ([], [5], None)
    >>> catalog.row("a"), catalog.row("b")
    (1, 5)
    """

    def __init__(self, rows: int) -> None:
        self._ids: list[str | None] = [None] * rows
        self._rows: dict[str, int] = {}
        self._steps = np.full(rows, -1, np.int64)  # [R]
        self._freed: dict[int, int] = {}
        self.held = np.zeros(rows, np.bool_)  # [R] whether a row holds an item
        self.state = next(_states)  # another one whenever an item comes to a row, or leaves one

    def row(self, item_id: str) -> int:
        """Row of an item; 1 (unknown) where it has none."""
        return self._rows.get(item_id, UNKNOWN_ROW)

    def item_id(self, row: int) -> str | None:
        """Item of a row, or None."""
        return self._ids[row] if 0 <= row < len(self._ids) else None

    def rows(self, item_ids: Iterable[str]) -> list[int]:
        """Rows of items; 1 where an item has none."""
        row_of = self._rows.get
        return [row_of(item_id, UNKNOWN_ROW) for item_id in item_ids]

    def item_ids(self, rows: NDArray[np.integer]) -> list[str | None]:
        """Items of rows [K]; None where a row holds none."""
        ids, end = self._ids, len(self._ids)
        return [ids[row] if 0 <= row < end else None for row in rows.tolist()]

    def live_rows(self) -> NDArray[np.int64]:
        """Rows that hold an item, in order."""
        return np.flatnonzero(self.held)

    def assign(self, item_id: str, row: int, step: int) -> list[int] | None:
        """Put an item into a row (-1: into none).

        Returns
        -------
        list of int or None
            The rows that lost their item by it, or None when the message is older than what is known.
        """
        held = self._rows.get(item_id)
        if held is not None and held != row and step < self._steps[held]:
            return None
        if row >= 0 and self._ids[row] != item_id and step < self._steps[row]:
            return None
        places = {place for place in (held, row) if place is not None and place >= 0}
        freed = [place for place in sorted(places) if self._vacate(place, item_id, row, step)]
        if row >= 0:
            if self._ids[row] != item_id:
                self.state = next(_states)
            self._ids[row], self._rows[item_id], self.held[row] = item_id, row, True
            self._steps[row] = max(self._steps[row], step)
        return freed

    def replace(self, item_ids: Sequence[str | None], step: int) -> list[int]:
        """Take over a whole catalogue; returns the rows whose item changed."""
        ids = [*item_ids, *[None] * (len(self._ids) - len(item_ids))]
        ids[:FIRST_ROW] = [None] * FIRST_ROW
        changed = [row for row, (old, new) in enumerate(zip(self._ids, ids, strict=True)) if old != new]
        self._ids = ids
        self._rows = {item_id: row for row, item_id in enumerate(ids) if item_id is not None}
        self._steps[:] = step
        self._freed.clear()
        self.held = np.array([item_id is not None for item_id in ids], np.bool_)
        self.state = next(_states)
        return changed

    def touch(self, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> None:
        """Note that messages named these rows for the items that they hold, both [K]."""
        np.maximum.at(self._steps, rows, steps)

    def purge(self, step: int) -> list[int]:
        """Take out every item that no message has named at ``step`` or later; returns their rows."""
        gone = [row for row in sorted(self._rows.values()) if self._steps[row] < step]
        for row in gone:
            del self._rows[self._ids[row] or ""]
            self._ids[row], self._steps[row], self._freed[row] = None, step, step
        self.held[gone] = False
        self.state = next(_states)
        return gone

    def take_freed(self) -> dict[int, int]:
        """Rows that lost an item since the last call, with the step at which."""
        freed, self._freed = self._freed, {}
        return freed

    def grow(self, rows: int) -> None:
        """Add empty rows up to ``rows``."""
        missing = rows - len(self._ids)
        if missing > 0:
            self._ids.extend([None] * missing)
            self.held = np.concatenate([self.held, np.zeros(missing, np.bool_)])
            self.state = next(_states)
            self._steps = np.concatenate([self._steps, np.full(missing, -1, np.int64)])

    def _vacate(self, place: int, item_id: str, row: int, step: int) -> bool:
        """Take the item out of a place unless it is the one that belongs there now."""
        if place == row and self._ids[place] in (None, item_id):
            return False
        old = self._ids[place]
        if old is not None:
            del self._rows[old]
        self._ids[place], self.held[place] = None, False
        self.state = next(_states)
        self._steps[place] = step
        self._freed[place] = step
        return True
