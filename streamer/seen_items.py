"""What each user has taken: serving does not offer it, and training must not count it as rejected."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_RECENT = 50  # a row among the latest so many is not noted again


class SeenItems:
    """Catalogue rows that each user has taken, bounded in users and in items a user.

    Serving does not offer what was seen; training must not count such an item as a rejected candidate.

    >>> seen = SeenItems(users=2, items=2)
    >>> for row in (5, 6, 7): seen.add("u", row)
    >>> seen.of("u").tolist(), seen.of("v").tolist()
    ([6, 7], [])
    """

    def __init__(self, users: int = 100_000, items: int = 1_000) -> None:
        self.users, self.items = users, items
        self._rows: OrderedDict[str, array[int]] = OrderedDict()

    def add(self, user_id: str, row: int) -> None:
        """Note that a user took an item; the longest unheard-of user makes room."""
        rows = self._rows.get(user_id)
        if rows is None:
            rows = self._rows[user_id] = array("q")
        self._rows.move_to_end(user_id)
        if row not in rows[-_RECENT:]:
            rows.append(row)
            del rows[: -self.items]
        if len(self._rows) > self.users:
            self._rows.popitem(last=False)

    def of(self, user_id: str) -> Rows:
        """Rows that a user has taken."""
        rows = self._rows.get(user_id)
        return np.zeros(0, np.int64) if rows is None else np.frombuffer(rows.tobytes(), np.int64)

    def state_dict(self) -> dict[str, Any]:
        """Users in the order of their last event, with flat rows."""
        rows = list(self._rows.values())
        return {
            "user_ids": list(self._rows),
            "lengths": np.array([len(r) for r in rows], np.int64),
            "rows": np.frombuffer(b"".join(r.tobytes() for r in rows), np.int64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        parts = np.split(np.array(state["rows"]), np.cumsum(state["lengths"])[:-1]) if state["user_ids"] else []
        pairs = zip(state["user_ids"], parts, strict=True)
        self._rows = OrderedDict((user_id, array("q", part.astype(np.int64).tobytes())) for user_id, part in pairs)
