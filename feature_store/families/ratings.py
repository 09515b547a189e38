"""How the user rates: level and spread of the given values, and how the last one stood out."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p, sqrt

from feature_store.families.actions import group
from feature_store.families.family import Entity
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

_LEAST_SPREAD = 0.5
_LARGEST_DEVIATION = 3.0
_LARGEST_RATING = 1_000.0  # beyond any scale in use; NaN fails the comparison too


@dataclass(frozen=True)
class Ratings:
    """Half the log of the mean rating, and the last rating's deviation in standard deviations, within ±3.

    Only actions of the group ``rate`` count, with values within ±1000: the value of a play is a duration, of a purchase
    a price.

    Examples
    --------
    >>> RATINGS.value(UserState(user_id="u"), 0)
    {'rating_mean': 0.0, 'rating_last_deviation': 0.0}
    """

    name: str = "ratings"
    entity: Entity = "user"
    fields: tuple[str, ...] = ("rating_mean", "rating_last_deviation")

    def update(self, state: UserState, event: Event, item: ItemInfo | None) -> None:
        """Welford's running mean and variance; the newest rating by event time is the last."""
        if event.value is None or not abs(event.value) <= _LARGEST_RATING or group(event.action) != "rate":
            return
        sums = state.families.setdefault(self.name, {"count": 0.0, "mean": 0.0, "squares": 0.0, "last_ms": 0.0})
        sums["count"] += 1
        deviation = event.value - sums["mean"]
        sums["mean"] += deviation / sums["count"]
        sums["squares"] += deviation * (event.value - sums["mean"])
        if event.event_time_ms >= sums["last_ms"]:
            sums["last"], sums["last_ms"] = event.value, float(event.event_time_ms)

    def value(self, state: UserState, now_ms: int) -> dict[str, float]:
        """Level and last deviation; 0 without ratings."""
        sums = state.families.get(self.name)
        if not sums:
            return {"rating_mean": 0.0, "rating_last_deviation": 0.0}
        spread = max(sqrt(max(sums["squares"], 0.0) / sums["count"]), _LEAST_SPREAD)
        deviation = (sums["last"] - sums["mean"]) / spread
        return {
            "rating_mean": log1p(max(sums["mean"], 0.0)) / 2,
            "rating_last_deviation": min(max(deviation, -_LARGEST_DEVIATION), _LARGEST_DEVIATION),
        }


RATINGS = Ratings()
