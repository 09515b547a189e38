"""What the session is about: decayed affinity to categories, within the session."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p

from feature_store import decay
from feature_store.families.actions import group
from feature_store.families.family import Entity
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

_HALF_LIFE_MS = decay.HOUR_MS / 2
_MOST_CATEGORIES = 32
_PREFIX = "c:"
_WEIGHT = {"look": 1.0, "engage": 2.0, "buy": 3.0, "rate": 1.0, "reject": -1.0}


def _prune(sums: dict[str, float], now_ms: int) -> None:
    names = [key for key in sums if key.startswith(_PREFIX)]
    for key in sorted(names, key=lambda key: abs(decay.read(sums, key, now_ms, _HALF_LIFE_MS)))[:-_MOST_CATEGORIES]:
        del sums[key], sums["@" + key]


@dataclass(frozen=True)
class CategoryAffinity:
    r"""Affinity :math:`a_c = \sum_i w_i 2^{-(now - t_i) / 30 min}` to at most 32 categories, emptied by a new session.

    The features are the log number of categories touched and the concentration :math:`\sum_c p_c^2` of the positive
    affinities: near 1 for a session with one intent, near 0 for browsing. :func:`affinities` gives the map itself.

    Examples
    --------
    >>> state, item = UserState(user_id="u", session_number=1), ItemInfo(item_id="i", categories=["Drama", "War"])
    >>> event = Event(event_id="e", type="interaction", user_id="u", item_id="i", action="view", event_time_ms=9)
    >>> CATEGORY_AFFINITY.update(state, event, item)
    >>> CATEGORY_AFFINITY.value(state, 9)
    {'log_session_categories': 1.10, 'session_concentration': 0.5}
    """

    name: str = "category_affinity"
    entity: Entity = "session"
    fields: tuple[str, ...] = ("log_session_categories", "session_concentration")

    def update(self, state: UserState, event: Event, item: ItemInfo | None) -> None:
        """Add the item's categories to the session that the record is in; start afresh in a new session."""
        sums = state.families.get(self.name)
        if sums is None or sums["session"] != state.session_number:
            sums = state.families[self.name] = {"session": float(state.session_number)}
        if event.event_time_ms < state.session_started_ms:
            return  # a late event of an earlier session says nothing about this one
        categories = item.categories if item is not None else ()
        for category in categories:
            weight = _WEIGHT[group(event.action)] / len(categories)
            decay.add(sums, f"{_PREFIX}{category}", event.event_time_ms, weight, _HALF_LIFE_MS)
        _prune(sums, event.event_time_ms)

    def value(self, state: UserState, now_ms: int) -> dict[str, float]:
        """Breadth and concentration of the session at now."""
        positive = [max(value, 0.0) for value in affinities(state, now_ms).values()]
        total = sum(positive)
        concentration = sum(value * value for value in positive) / (total * total) if total > 1e-12 else 0.0
        return {"log_session_categories": log1p(len(positive)), "session_concentration": concentration}


CATEGORY_AFFINITY = CategoryAffinity()


def affinities(state: UserState, now_ms: int) -> dict[str, float]:
    """Affinity of the current session to each category, decayed to ``now_ms``.

    >>> affinities(UserState(user_id="u"), 0)
    {}
    """
    sums = state.families.get(CATEGORY_AFFINITY.name, {})
    if not sums or sums["session"] != state.session_number:
        return {}
    keys = (key for key in sums if key.startswith(_PREFIX))
    return {key[len(_PREFIX) :]: decay.read(sums, key, now_ms, _HALF_LIFE_MS) for key in keys}
