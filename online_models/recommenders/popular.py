"""What everybody takes: over all time, over the last seven days, and with a half-life.

These are the floor of every table. The last two never count an event later than the moment of the question, even where
a split has let them learn such events (leave-one-out does).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting

DAY_SECONDS = 86_400.0
_TIE_BREAK = 1e-6  # of all-time counts, so that items outside the window are in an order too


class _Log:
    """Learnt events in order of time, in arrays that grow."""

    def __init__(self) -> None:
        self.size = 0
        self._items = np.zeros(1_024, np.int64)
        self._times = np.zeros(1_024)

    @property
    def items(self) -> NDArray[np.int64]:
        return self._items[: self.size]

    @property
    def times(self) -> NDArray[np.float64]:
        return self._times[: self.size]

    def append(self, events: Interactions) -> None:
        end = self.size + len(events)
        while end > len(self._items):
            self._items, self._times = (np.concatenate([a, np.zeros_like(a)]) for a in (self._items, self._times))
        self._items[self.size : end] = events.items
        latest = self._times[self.size - 1] if self.size else -np.inf
        # an undated history bears an earlier time than the stream has reached; it arrives now
        self._times[self.size : end] = np.maximum(np.maximum.accumulate(events.times_seconds), latest)
        self.size = end


class Popular:
    """How often each item was taken, by everybody and ever.

    Parameters
    ----------
    setting
        The catalogue.
    """

    micro_batch = 1

    def __init__(self, setting: Setting) -> None:
        self._counts = np.zeros(setting.rows, np.float32)  # [R]

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Count a whole log."""
        self._counts = np.bincount(train.items, minlength=len(self._counts)).astype(np.float32)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Count the next events."""
        np.add.at(self._counts, events.items, 1)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the counts, the same for everybody. [B, R]."""
        return np.broadcast_to(self._counts, (len(histories), len(self._counts)))


class PopularLately:
    """How often each item was taken in the window before the question; all-time counts break ties.

    ``p_j = Σ_e [t - window < t_e <= t]  +  ε Σ_e [t_e <= t]`` over events e on j, with t the time of the question.

    Parameters
    ----------
    setting
        The catalogue.
    window_days
        Length of the window.
    """

    micro_batch = 1

    def __init__(self, setting: Setting, window_days: float = 7.0) -> None:
        self._window_seconds = window_days * DAY_SECONDS
        self._log = _Log()
        self._counts = np.zeros(setting.rows)  # [R] in the window log[begin:end]
        self._ever = np.zeros(setting.rows)  # [R] in log[:end]
        self._begin = self._end = 0

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a whole log."""
        self._log.append(train)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn the next events."""
        self._log.append(events)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Count the window before each question. [B, R]."""
        scores = np.empty((len(histories), len(self._counts)), np.float32)
        for place in np.argsort(histories.now_seconds, kind="stable"):
            self._move(float(histories.now_seconds[place]))
            scores[place] = self._counts + _TIE_BREAK * self._ever
        return scores

    def _move(self, now_seconds: float) -> None:
        """Let the window end now: only what enters and leaves it is counted."""
        begin, end = np.searchsorted(self._log.times, (now_seconds - self._window_seconds, now_seconds), side="right")
        for counts, old, new, sign in (
            (self._counts, self._begin, int(begin), -1),
            (self._counts, self._end, int(end), 1),
            (self._ever, self._end, int(end), 1),
        ):
            low, high = min(old, new), max(old, new)
            np.add.at(counts, self._log.items[low:high], sign if new > old else -sign)
        self._begin, self._end = int(begin), int(end)


class PopularDecayed:
    """How often each item was taken, an event counting half after every half-life.

    ``p_j = Σ_e 2^(-(t - t_e) / h)`` over the events e on j with t_e <= t, with t the time of the question.

    Parameters
    ----------
    setting
        The catalogue.
    half_life_days
        h.
    """

    micro_batch = 1

    def __init__(self, setting: Setting, half_life_days: float = 14.0) -> None:
        self._half_life_seconds = half_life_days * DAY_SECONDS
        self._log = _Log()
        self._counts = np.zeros(setting.rows)  # [R] of log[:end], as of the time of its last event
        self._end = 0

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a whole log."""
        self._log.append(train)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn the next events."""
        self._log.append(events)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return the decayed counts up to each question. [B, R]."""
        scores = np.empty((len(histories), len(self._counts)), np.float32)
        for place in np.argsort(histories.now_seconds, kind="stable"):
            self._move(float(histories.now_seconds[place]))
            # every count is decayed alike, so the order needs no decay up to now
            scores[place] = self._counts
        return scores

    def _move(self, now_seconds: float) -> None:
        end = int(np.searchsorted(self._log.times, now_seconds, side="right"))
        if end < self._end:
            self._counts[:], self._end = 0, 0
        if end == self._end:
            return
        items, times = self._log.items[self._end : end], self._log.times[self._end : end]
        if self._end:
            self._counts *= 2.0 ** (-(times[-1] - self._log.times[self._end - 1]) / self._half_life_seconds)
        np.add.at(self._counts, items, 2.0 ** (-(times[-1] - times) / self._half_life_seconds))
        self._end = end


RECOMMENDERS: dict[str, Factory] = {
    "popular": Popular,
    "popular-7d": PopularLately,
    "popular-decayed": PopularDecayed,
}
