"""What a store of records does, whatever it lies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from feature_store.item_state import ItemState
from feature_store.user_state import UserState


class RecordStore(Protocol):
    """Last write wins; what was pushed is readable, by every process, when ``push`` returns."""

    def push(self, states: Sequence[UserState]) -> None:
        """Write users' records, in one batch; of several of one user the last counts."""

    def push_items(self, states: Sequence[ItemState]) -> None:
        """Write items' records, in one batch; of several of one item the last counts."""

    def read(self, user_id: str) -> UserState | None:
        """Record of a user, or None for one never pushed."""

    def read_item(self, item_id: str) -> ItemState | None:
        """Record of an item, or None for one never pushed."""

    def flush(self) -> None:
        """Write whatever is still waiting to become readable through Feast's own API."""

    def close(self) -> None:
        """Flush, and let go of files and connections."""
