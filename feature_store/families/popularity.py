"""How much an item is wanted now: interactions decayed over a day and a week, and the trend between the two."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log1p

from feature_store import decay
from feature_store.families.actions import group
from feature_store.families.family import Entity
from feature_store.item_state import ItemState, Sighting
from feature_store.user_state import ItemInfo

_WEIGHT = {"look": 1.0, "engage": 1.0, "buy": 2.0, "rate": 1.0, "reject": 0.0}
_LARGEST_TREND = 3.0


@dataclass(frozen=True)
class Popularity:
    r"""Decayed interactions :math:`n_h = \sum_i w_i 2^{-(now - t_i) / h}` as :math:`\log(1 + n_h) / 3`, and the trend.

    The trend :math:`\log\frac{1 + 7 n_{1d}}{1 + n_{7d}}`, within ±3, is positive for an item that is wanted more today
    than in its usual week; without an end to the sums a steady item has a trend near 0.

    Examples
    --------
    >>> state = ItemState(item_id="i")
    >>> POPULARITY.update(state, Sighting(event_time_ms=0, action="view"), None)
    >>> POPULARITY.value(state, decay.DAY_MS)["log_popularity_1d"] < POPULARITY.value(state, 0)["log_popularity_1d"]
    True
    """

    name: str = "popularity"
    entity: Entity = "item"
    fields: tuple[str, ...] = ("log_popularity_1d", "log_popularity_7d", "popularity_trend")

    def update(self, state: ItemState, sighting: Sighting, item: ItemInfo | None) -> None:
        """Add an interaction; a mere exposure is no popularity."""
        if sighting.action is None:
            return
        sums = state.families.setdefault(self.name, {})
        weight = _WEIGHT[group(sighting.action)]
        decay.add(sums, "1d", sighting.event_time_ms, weight, decay.DAY_MS)
        decay.add(sums, "7d", sighting.event_time_ms, weight, decay.WEEK_MS)

    def value(self, state: ItemState, now_ms: int) -> dict[str, float]:
        """Popularity decayed to now."""
        sums = state.families.get(self.name, {})
        day = decay.read(sums, "1d", now_ms, decay.DAY_MS)
        week = decay.read(sums, "7d", now_ms, decay.WEEK_MS)
        trend = log((1 + 7 * day) / (1 + week))
        return {
            "log_popularity_1d": log1p(day) / 3,
            "log_popularity_7d": log1p(week) / 3,
            "popularity_trend": min(max(trend, -_LARGEST_TREND), _LARGEST_TREND),
        }


POPULARITY = Popularity()
