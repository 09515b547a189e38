"""An in-memory store of records. Not for production: it dies with its process and no other process sees it."""

from __future__ import annotations

from collections.abc import Sequence

from feature_store.item_state import ItemState
from feature_store.rows import pack, unpack_item, unpack_user
from feature_store.user_state import UserState


class MemoryStore:
    """Twin of :class:`~feature_store.online.OnlineStore` for tests that need no process but their own.

    Records are packed on the way in and unpacked on the way out, so that neither side can change the other's.

    Examples
    --------
    >>> store = MemoryStore()
    >>> store.push([UserState(user_id="u", total_events=2)])
    >>> store.read("u").total_events, store.read("somebody else")
    (2, None)
    """

    def __init__(self) -> None:
        self._users: dict[str, bytes] = {}
        self._items: dict[str, bytes] = {}

    def push(self, states: Sequence[UserState]) -> None:
        """Keep users' records."""
        self._users.update((state.user_id, pack(state)) for state in states)

    def push_items(self, states: Sequence[ItemState]) -> None:
        """Keep items' records."""
        self._items.update((state.item_id, pack(state)) for state in states)

    def read(self, user_id: str) -> UserState | None:
        """Record of a user, or None."""
        raw = self._users.get(user_id)
        return None if raw is None else unpack_user(raw)

    def read_item(self, item_id: str) -> ItemState | None:
        """Record of an item, or None."""
        raw = self._items.get(item_id)
        return None if raw is None else unpack_item(raw)

    def flush(self) -> None:
        """Nothing ever waits here."""

    def close(self) -> None:
        """Nothing to let go of."""
