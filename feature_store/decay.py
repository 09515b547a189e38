"""Exponentially decayed sums: the only kind of window that the families use.

A decayed sum needs two numbers (its value and the time it was brought to), forgets smoothly, and does not care in
which order late events arrive, because the contributions commute.
"""

from __future__ import annotations

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS


def factor(age_ms: float, half_life_ms: float) -> float:
    r"""Share of a contribution that is left after ``age_ms``: :math:`2^{-age / half\_life}`, 1 for negative ages.

    >>> factor(HOUR_MS, HOUR_MS), factor(-5, HOUR_MS)
    (0.5, 1.0)
    """
    return 1.0 if age_ms <= 0 else float(2.0 ** (-age_ms / half_life_ms))


def add(state: dict[str, float], key: str, time_ms: int, amount: float, half_life_ms: float) -> None:
    """Add ``amount`` at ``time_ms`` to the decayed sum ``state[key]``, which is kept at ``state["@" + key]``.

    A contribution older than the sum is decayed to the sum's time first, so that the order of arrival is irrelevant.

    >>> early, late = {}, {}
    >>> for state, times in ((early, (0, HOUR_MS)), (late, (HOUR_MS, 0))):
    ...     for time_ms in times:
    ...         add(state, "views", time_ms, 1.0, HOUR_MS)
    >>> early == late, early["views"]
    (True, 1.5)
    """
    at_ms = state.get("@" + key, time_ms)
    if time_ms >= at_ms:
        state[key] = state.get(key, 0.0) * factor(time_ms - at_ms, half_life_ms) + amount
        state["@" + key] = float(time_ms)
    else:
        state[key] += amount * factor(at_ms - time_ms, half_life_ms)


def read(state: dict[str, float], key: str, now_ms: int, half_life_ms: float) -> float:
    """Value of the decayed sum at ``now_ms``; 0 where nothing was added yet.

    >>> read({"views": 8.0, "@views": 0.0}, "views", 3 * HOUR_MS, HOUR_MS)
    1.0
    """
    value = state.get(key, 0.0)
    return value * factor(now_ms - state["@" + key], half_life_ms) if value else 0.0
