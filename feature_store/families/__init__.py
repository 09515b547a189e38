"""The feature families: one a file, declared once, used by training, serving and Feast alike.

:func:`update` folds one interaction into a user's record. Call it after the session's own fields (``session_number``,
``session_started_ms`` …) have been moved to the event's session, and after
:func:`~feature_store.vectors.user_vector` has been read for the example that the event becomes.
"""

from __future__ import annotations

from feature_store.families.category_affinity import CATEGORY_AFFINITY
from feature_store.families.counts_and_rates import COUNTS_AND_RATES
from feature_store.families.ctr import CTR
from feature_store.families.family import ItemFamily, UserFamily
from feature_store.families.item_age import ITEM_AGE
from feature_store.families.popularity import POPULARITY
from feature_store.families.price import PRICE
from feature_store.families.ratings import RATINGS
from feature_store.families.recency import RECENCY
from feature_store.families.session_shape import SESSION_SHAPE
from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

USER_FAMILIES: tuple[UserFamily, ...] = (COUNTS_AND_RATES, RECENCY, RATINGS, SESSION_SHAPE, CATEGORY_AFFINITY)
ITEM_FAMILIES: tuple[ItemFamily, ...] = (POPULARITY, ITEM_AGE, CTR, PRICE)


def update(state: UserState, event: Event, item: ItemInfo | None) -> None:
    """Fold one interaction into every family's state; impressions and catalogue events change nothing.

    >>> state = UserState(user_id="u")
    >>> event = Event(event_id="e", type="interaction", user_id="u", item_id="i", action="view", event_time_ms=9)
    >>> update(state, event, None)
    >>> sorted(state.families)
    ['category_affinity', 'counts_and_rates', 'recency']
    """
    if event.type != "interaction":
        return
    for family in USER_FAMILIES:
        family.update(state, event, item)


def update_item(state: ItemState, sighting: Sighting, item: ItemInfo | None = None) -> None:
    """Fold one sighting, and what the catalogue says where given, into an item's record.

    >>> state = ItemState(item_id="i")
    >>> update_item(state, Sighting(event_time_ms=9, action="view"), ItemInfo(item_id="i", title="Alien"))
    >>> state.title, state.last_seen_ms, sorted(state.families)
    ('Alien', 9, ['popularity'])
    """
    if item is not None:
        state.describe(item)
    for family in ITEM_FAMILIES:
        family.update(state, sighting, item)
    state.seen_at(sighting.event_time_ms)
