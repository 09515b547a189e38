"""The catalogue: which row of the tables an external item id has, now.

Row 0 is padding and row 1 stands for every unknown item, so tensors never change their shape while items come and go.
An item is admitted after ``admission_sightings`` sightings; when all rows are held, the one not seen for longest is
taken.

>>> catalog = Catalog(rows=4)
>>> catalog.admit("a", 10.0), catalog.admit("b", 11.0), catalog.admit("c", 12.0)
(2, 3, 2)
>>> catalog.take_freed(), catalog.row("a"), catalog.rows(["b", "c", "never seen"]).tolist()
([(2, 'a')], 1, [3, 2, 1])
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.batch import UNKNOWN

FIRST_ROW = UNKNOWN + 1


class Catalog:
    """External item ids to rows, with admission and expiry, in bounded memory.

    Parameters
    ----------
    rows
        Rows of every table, padding and unknown included.
    admission_sightings
        How often an id must be seen before it gets a row; ids seen once (noise, attacks) then never take one.
    keep_seconds
        A row seen within this time of the newcomer's sighting is never taken; the newcomer stays unknown instead.
    pending
        How many ids may wait for admission (``rows`` where None); the one not seen for longest is forgotten.

    Raises
    ------
    ValueError
        A size is out of its range.
    """

    def __init__(
        self, rows: int, admission_sightings: int = 1, keep_seconds: float = 0.0, pending: int | None = None
    ) -> None:
        if rows <= FIRST_ROW:
            raise ValueError(f"rows is {rows}; give at least {FIRST_ROW + 1}, rows 0 and 1 are padding and unknown")
        if admission_sightings < 1:
            raise ValueError(f"admission_sightings is {admission_sightings}; give 1 (at once) or more")
        self.capacity = rows
        self.admission_sightings = admission_sightings
        self.keep_seconds = keep_seconds
        self._pending_limit = rows if pending is None else max(1, pending)
        self._row_of: OrderedDict[str, int] = OrderedDict()  # least recently seen first
        self._ids: list[str | None] = [None] * rows
        self._last_seen_s: NDArray[np.float64] = np.full(rows, -np.inf)
        self._pending: OrderedDict[str, int] = OrderedDict()
        self._empty: list[int] = list(range(rows - 1, UNKNOWN, -1))
        self._freed: list[tuple[int, str]] = []
        self._used = FIRST_ROW

    def __len__(self) -> int:
        """Return the number of items that have a row."""
        return len(self._row_of)

    def __contains__(self, item_id: object) -> bool:
        """Whether the item has a row."""
        return item_id in self._row_of

    def row(self, item_id: str) -> int:
        """Row of an item, 1 where it has none. Changes nothing."""
        return self._row_of.get(item_id, UNKNOWN)

    def rows(self, item_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of many items, 1 where one has none. Changes nothing. [len(item_ids)]."""
        get = self._row_of.get
        return np.array([get(item_id, UNKNOWN) for item_id in item_ids], np.int64)

    def id_of(self, row: int) -> str | None:
        """Item that holds a row; None for padding, unknown and rows that are free."""
        return self._ids[row]

    def active_rows(self) -> NDArray[np.int64]:
        """Rows that are held, least recently seen first. [len(self)]."""
        return np.fromiter(self._row_of.values(), np.int64, len(self._row_of))

    @property
    def used(self) -> int:
        """What every row that was ever held is below: the part of a table that can hold anything."""
        return self._used

    def last_seen_s(self, row: int) -> float:
        """Latest time at which the item of a row was seen; -inf for a row that is free."""
        return float(self._last_seen_s[row])

    def admit(self, item_id: str, time_s: float) -> int:
        """Count one sighting and return the item's row, 1 while it is not (or cannot be) admitted."""
        row = self._row_of.get(item_id)
        if row is not None:
            self._row_of.move_to_end(item_id)
            self._last_seen_s[row] = max(self._last_seen_s[row], time_s)
            return row
        if not self._seen_enough(item_id) or not self._make_room(time_s):
            return UNKNOWN
        self._pending.pop(item_id, None)
        return self._give_row(item_id, time_s)

    def remove(self, item_id: str) -> int:
        """Free the row of a withdrawn item; returns it, or 1 where it had none."""
        self._pending.pop(item_id, None)
        row = self._row_of.pop(item_id, None)
        if row is None:
            return UNKNOWN
        self._ids[row] = None
        self._last_seen_s[row] = -np.inf
        self._empty.append(row)
        self._freed.append((row, item_id))
        return row

    def take_freed(self) -> list[tuple[int, str]]:
        """Rows freed since the last call with the item each held, oldest first: reset their table rows, then go on.

        Call it after every batch; what was freed is remembered until then.
        """
        freed, self._freed = self._freed, []
        return freed

    def state_dict(self) -> dict[str, Any]:
        """Everything, in order: a catalogue loaded from it behaves identically ever after."""
        return {
            "capacity": self.capacity,
            "ids": list(self._row_of),
            "rows": self.active_rows(),
            "last_seen_s": self._last_seen_s.copy(),
            "pending_ids": list(self._pending),
            "pending_sightings": list(self._pending.values()),
            "empty": list(self._empty),
            "freed": [list(pair) for pair in self._freed],
            "used": self._used,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises
        ------
        ValueError
            The state is of a catalogue with another number of rows.
        """
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"the state holds a catalogue of {state['capacity']} rows, this one has {self.capacity}; "
                f"set rows to {state['capacity']}, or start from an empty state"
            )
        self._row_of = OrderedDict(zip(state["ids"], np.asarray(state["rows"]).tolist(), strict=True))
        self._ids = [None] * self.capacity
        for item_id, row in self._row_of.items():
            self._ids[row] = item_id
        self._last_seen_s = np.array(state["last_seen_s"], np.float64)
        self._pending = OrderedDict(zip(state["pending_ids"], state["pending_sightings"], strict=True))
        self._empty = list(state["empty"])
        self._freed = [(row, item_id) for row, item_id in state["freed"]]
        self._used = state.get("used", self.capacity)  # states of earlier versions have none

    def _seen_enough(self, item_id: str) -> bool:
        sightings = self._pending.pop(item_id, 0) + 1
        if sightings >= self.admission_sightings:
            return True
        self._pending[item_id] = sightings
        if len(self._pending) > self._pending_limit:
            self._pending.popitem(last=False)
        return False

    def _make_room(self, time_s: float) -> bool:
        """Whether a row is free, after taking the least recently seen one where that is allowed."""
        if self._empty:
            return True
        item_id, row = next(iter(self._row_of.items()))
        if time_s - self._last_seen_s[row] < self.keep_seconds:
            return False
        self.remove(item_id)
        return True

    def _give_row(self, item_id: str, time_s: float) -> int:
        row = self._empty.pop()
        self._used = max(self._used, row + 1)
        self._row_of[item_id] = row
        self._ids[row] = item_id
        self._last_seen_s[row] = time_s
        return row
