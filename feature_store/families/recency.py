"""When: the gap since the last event, the usual gap, how long the user is known, the hour and the weekday."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, log1p, pi, sin

from feature_store import decay
from feature_store.families.family import Entity
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

_SMOOTHING = 0.1
_LOG_SCALE = 6.0  # log1p of a year in seconds is about 17


def _log_seconds(milliseconds: float) -> float:
    return log1p(max(milliseconds, 0.0) / 1_000) / _LOG_SCALE


@dataclass(frozen=True)
class Recency:
    r"""Gaps on a log scale, :math:`\log(1 + seconds) / 6`, and the clock (UTC) as sine and cosine.

    The usual gap is an exponential moving average (weight 0.1) of the log gaps; a late event does not touch it.

    Examples
    --------
    >>> RECENCY.value(UserState(user_id="u"), 6 * decay.HOUR_MS)["hour_sin"]
    1.0
    """

    name: str = "recency"
    entity: Entity = "user"
    fields: tuple[str, ...] = (
        "log_since_last",
        "log_usual_gap",
        "log_tenure",
        "hour_sin",
        "hour_cos",
        "weekday_sin",
        "weekday_cos",
    )

    def update(self, state: UserState, event: Event, item: ItemInfo | None) -> None:
        """Move the times of the first and the last event, and the usual gap."""
        times = state.families.setdefault(self.name, {})
        now_ms = float(event.event_time_ms)
        last_ms = times.get("last_ms", now_ms)
        if now_ms >= last_ms:
            if "last_ms" in times:
                gap = _log_seconds(now_ms - last_ms)
                usual = times.get("usual_gap", gap)
                times["usual_gap"] = usual + _SMOOTHING * (gap - usual)
            times["last_ms"] = now_ms
        times["first_ms"] = min(times.get("first_ms", now_ms), now_ms)

    def value(self, state: UserState, now_ms: int) -> dict[str, float]:
        """Gaps up to now, and the clock at now; a user without events has gaps of 0 (and is a ``new_user``)."""
        times = state.families.get(self.name, {})
        hour = 2 * pi * (now_ms % decay.DAY_MS) / decay.DAY_MS
        weekday = 2 * pi * (now_ms % decay.WEEK_MS) / decay.WEEK_MS
        return {
            "log_since_last": _log_seconds(now_ms - times.get("last_ms", now_ms)),
            "log_usual_gap": times.get("usual_gap", 0.0),
            "log_tenure": _log_seconds(now_ms - times.get("first_ms", now_ms)),
            "hour_sin": sin(hour),
            "hour_cos": cos(hour),
            "weekday_sin": sin(weekday),
            "weekday_cos": cos(weekday),
        }


RECENCY = Recency()
