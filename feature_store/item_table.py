"""All items of the stream in one table: the trainer feeds it, and pushes what has changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feature_store.families import update_item
from feature_store.families.ctr import relevance
from feature_store.item_state import ItemState, Sighting
from feature_store.position_bias import PositionBias
from feature_store.user_state import ItemInfo
from feature_store.vectors import ITEM_NAMES, item_vector


class ItemTable:
    """Records of at most ``capacity`` items, the longest untouched leaving first, and the shared position bias.

    Parameters
    ----------
    capacity
        Most items held.

    Examples
    --------
    >>> table = ItemTable()
    >>> table.observe_interaction("alien", "view", 9)
    >>> table.observe_slate(["alien", "heat"], [1, 0], 9)
    >>> [state.item_id for state in table.take_changed()], table.take_changed()
    (['alien', 'heat'], [])
    """

    def __init__(self, capacity: int = 1_000_000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; give at least 1")
        self.capacity = capacity
        self.bias = PositionBias()
        self._states: dict[str, ItemState] = {}
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._states)

    def get(self, item_id: str) -> ItemState | None:
        """Record of an item, or None where nothing is known of it."""
        return self._states.get(item_id)

    def describe(self, item: ItemInfo) -> None:
        """Take over what the catalogue says of an item."""
        self._touch(item.item_id).describe(item)

    def observe_interaction(self, item_id: str, action: str | None, event_time_ms: int) -> None:
        """Count one interaction; an action of None counts as a view."""
        sighting = Sighting(event_time_ms=event_time_ms, action=action or "view")
        update_item(self._touch(item_id), sighting)

    def observe_slate(self, slate: Sequence[str], outcomes: Sequence[int], event_time_ms: int) -> None:
        """Count one impression, top first, with its outcomes (1: taken)."""
        for position, (item_id, outcome) in enumerate(zip(slate, outcomes, strict=True)):
            state, taken = self._touch(item_id), bool(outcome)
            self.bias.update(position, taken=taken, relevance=relevance(state, event_time_ms))
            examination = self.bias.propensity(position)
            shown = Sighting(event_time_ms=event_time_ms, position=position, taken=taken, examination=examination)
            update_item(state, shown)

    def vectors(self, item_ids: Sequence[str], now_ms: int) -> NDArray[np.float32]:
        """Features of many items; an unknown item reads as one without any history."""
        matrix = np.empty((len(item_ids), len(ITEM_NAMES)), np.float32)  # [N, G]
        for row, item_id in zip(matrix, item_ids, strict=True):
            row[:] = item_vector(self._states.get(item_id) or ItemState(item_id=item_id), now_ms)
        return matrix

    def take_changed(self) -> list[ItemState]:
        """Hand out the records touched since the last call: what to push."""
        changed, self._changed = self._changed, {}
        return [self._states[item_id] for item_id in changed]

    def states(self) -> list[ItemState]:
        """Every record, the longest untouched first: what a snapshot keeps beside ``bias``."""
        return list(self._states.values())

    def restore(self, states: Sequence[ItemState], bias: PositionBias) -> None:
        """Go back to a snapshot; nothing counts as changed afterwards."""
        self.bias = bias
        self._states = {state.item_id: state for state in states}
        self._changed = {}

    def _touch(self, item_id: str) -> ItemState:
        state = self._states.pop(item_id, None) or ItemState(item_id=item_id)
        self._states[item_id] = state
        self._changed[item_id] = None
        if len(self._states) > self.capacity:
            longest_untouched = next(iter(self._states))
            del self._states[longest_untouched]
            self._changed.pop(longest_untouched, None)
        return state
