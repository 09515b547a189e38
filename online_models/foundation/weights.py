"""How much an event counts as a target: what was done, and for how long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.vocabulary import ACTIONS

ACTION_WEIGHTS = {
    "view": 1.0,
    "click": 1.0,
    "play": 1.0,
    "like": 1.5,
    "cart": 1.5,
    "purchase": 2.0,
    "rating": 1.0,
    "skip": 0.0,  # an input, never a target
    "other": 1.0,
}
_TIMED = ("view", "play")
_TYPICAL_SECONDS = 60.0
_LEAST, _MOST = 0.25, 2.0

_by_row = np.array([0.0, *(ACTION_WEIGHTS[action] for action in ACTIONS)], np.float32)  # [A + 1]
_timed_rows = np.isin(np.array(["", *ACTIONS]), _TIMED)  # [A + 1]


def event_weights(actions: NDArray[np.int64], values: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Weight of events by action row [E], and for views and plays by duration in seconds [E] (NaN: not known). [E].

    ``w = a(action) · clip(log(1 + t / t₀) / log 2, ¼, 2)`` with ``t₀`` a minute: a play of a minute counts 1, one of
    three minutes 2, and no play counts more. Values of other actions (stars, prices) are not durations and change
    nothing.

    >>> from online_models.vocabulary import action_row
    >>> actions = np.array([action_row(name) for name in ("purchase", "play", "play", "play", "skip")])
    >>> event_weights(actions, np.array([9.9, np.nan, 60.0, 3600.0, np.nan], np.float32)).tolist()
    [2.0, 1.0, 1.0, 2.0, 0.0]
    """
    weights: NDArray[np.float32] = _by_row[actions]
    if values is None:
        return weights
    timed = _timed_rows[actions] & np.isfinite(values)
    seconds = np.where(timed, np.maximum(values, 0), _TYPICAL_SECONDS)
    factors = np.clip(np.log1p(seconds / _TYPICAL_SECONDS) / np.log(2), _LEAST, _MOST)
    return (weights * np.where(timed, factors, 1)).astype(np.float32)
