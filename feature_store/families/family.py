"""What every feature family declares, once, for training, serving and Feast."""

from __future__ import annotations

from typing import Literal, Protocol

from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

Entity = Literal["user", "session", "item"]


class UserFamily(Protocol):
    """Features of a user or of the user's session: their state, their writes and their reading.

    ``fields`` names the features in the order in which they enter the vector; the same names are Feast's fields.
    """

    @property
    def name(self) -> str:
        """Name of the family: the key of its state and the stem of its Feast view."""

    @property
    def entity(self) -> Entity:
        """Feast entity that the features describe."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Feature names, in vector order."""

    def update(self, state: UserState, event: Event, item: ItemInfo | None) -> None:
        """Fold one interaction into ``state.families[name]``."""

    def value(self, state: UserState, now_ms: int) -> dict[str, float]:
        """Features as they stand at ``now_ms``; pure."""


class ItemFamily(Protocol):
    """Features of an item; the same contract over :class:`~feature_store.item_state.ItemState`."""

    @property
    def name(self) -> str:
        """Name of the family: the key of its state and the stem of its Feast view."""

    @property
    def entity(self) -> Entity:
        """Feast entity that the features describe."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Feature names, in vector order."""

    def update(self, state: ItemState, sighting: Sighting, item: ItemInfo | None) -> None:
        """Fold one sighting of the item into ``state.families[name]``."""

    def value(self, state: ItemState, now_ms: int) -> dict[str, float]:
        """Features as they stand at ``now_ms``; pure."""
