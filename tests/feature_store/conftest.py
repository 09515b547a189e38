"""Records as a stream leaves them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from feature_store.families import update, update_item
from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

START_MS = 1_700_000_000_000


@pytest.fixture
def make_event() -> Callable[..., Event]:
    def make(**given: object) -> Event:
        known: dict[str, object] = {
            "event_id": "e",
            "type": "interaction",
            "user_id": "u",
            "item_id": "i",
            "action": "view",
            "event_time_ms": START_MS,
        }
        return Event(**known | given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_user(make_event: Callable[..., Event]) -> Callable[[str, int], UserState]:
    """A user's record after a number of events, with every family touched."""

    def make(user_id: str, events: int = 3) -> UserState:
        state = UserState(user_id=user_id, session_id=f"{user_id}:1", session_number=1, session_started_ms=START_MS)
        for index in range(events):
            time_ms = START_MS + 60_000 * index
            action = ("view", "rating", "purchase")[index % 3]
            event = make_event(user_id=user_id, action=action, value=float(index % 5), event_time_ms=time_ms)
            update(state, event, ItemInfo(item_id="i", categories=["Drama", f"c{index}"]))
            state.item_ids.append(f"item-{index}")
            state.actions.append(action)
            state.event_times_ms.append(time_ms)
            state.seen_item_ids.append(f"item-{index}")
            state.session_length += 1
            state.total_events += 1
            state.watermark_ms = time_ms
        return state

    return make


@pytest.fixture
def make_item() -> Callable[[str, int], ItemState]:
    """An item's record after a number of views and slates."""

    def make(item_id: str, sightings: int = 3) -> ItemState:
        state = ItemState(item_id=item_id)
        info = ItemInfo(item_id=item_id, title="Ünïcode ✓", categories=["Drama"], price=9.5, published_time_ms=START_MS)
        for index in range(sightings):
            update_item(state, Sighting(event_time_ms=START_MS + index, action="view"), info)
            shown = Sighting(event_time_ms=START_MS + index, position=index, taken=index == 0, examination=0.5)
            update_item(state, shown)
        return state

    return make
