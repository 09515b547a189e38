"""How much and how often: lifetime counts, and rates by action group over an hour and a day."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p

from feature_store import decay
from feature_store.families.actions import GROUPS, group
from feature_store.families.family import Entity
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

_HALF_LIVES_MS = {"1h": decay.HOUR_MS, "1d": decay.DAY_MS}
_RATES = tuple((g, w, f"{g}_{w}", half_ms) for g in GROUPS for w, half_ms in _HALF_LIVES_MS.items())
_NEW_USER_EVENTS = 5


@dataclass(frozen=True)
class CountsAndRates:
    r"""Counts of events, and rates by action group that decay with half-lives of an hour and a day.

    .. math:: rate_{g,h}(now) = \tfrac12 \log(1 + \sum_{i \in g} 2^{-(now - t_i) / h})

    Examples
    --------
    >>> COUNTS_AND_RATES.value(UserState(user_id="u"), 0)["new_user"]
    1.0
    """

    name: str = "counts_and_rates"
    entity: Entity = "user"
    fields: tuple[str, ...] = (
        "new_user",
        "log_history",
        "log_total_events",
        "log_sessions",
        *(f"rate_{g}_{w}" for g, w, _, _ in _RATES),
    )

    def update(self, state: UserState, event: Event, item: ItemInfo | None) -> None:
        """Add the event to the rates of its action group."""
        sums = state.families.setdefault(self.name, {})
        name = group(event.action)
        for window, half_ms in _HALF_LIVES_MS.items():
            decay.add(sums, f"{name}_{window}", event.event_time_ms, 1.0, half_ms)

    def value(self, state: UserState, now_ms: int) -> dict[str, float]:
        """Read counts from the record and the rates decayed to now."""
        values = {
            "new_user": float(state.total_events < _NEW_USER_EVENTS),
            "log_history": log1p(len(state.item_ids)) / 2,
            "log_total_events": log1p(state.total_events) / 3,
            "log_sessions": log1p(state.session_number) / 2,
        }
        sums = state.families.get(self.name, {})
        for name, window, key, half_ms in _RATES:
            values[f"rate_{name}_{window}"] = log1p(decay.read(sums, key, now_ms, half_ms)) / 2
        return values


COUNTS_AND_RATES = CountsAndRates()
