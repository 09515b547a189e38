"""Signs of a learner that is about to diverge, cheap enough to be looked at after every step."""

from __future__ import annotations

import math
from typing import Any


class LossWatch:
    """Counts spikes: losses far above what they have been lately.

    A loss is a spike where it is not finite, or where it exceeds the running mean by ``deviations`` running standard
    deviations. Mean and deviation forget at the pace of ``memory`` losses; a spike enters them no higher than the line
    that it crossed, so that one burst does not hide the next, and a level that stays is the new level after a while.

    Parameters
    ----------
    memory
        How many losses the running mean goes back.
    deviations
        How far above the mean is far.
    warm_up
        Losses before the first spike can be told.

    Examples
    --------
    >>> watch = LossWatch(warm_up=4)
    >>> [watch.observe(loss) for loss in (2.0, 2.1, 1.9, 2.0, 2.1, 9.0, 2.0)]
    [False, False, False, False, False, True, False]
    >>> watch.spikes
    1
    """

    def __init__(self, memory: int = 100, deviations: float = 6.0, warm_up: int = 20) -> None:
        self.rate = 1 / memory
        self.deviations = deviations
        self.warm_up = warm_up
        self.spikes = 0
        self._seen = 0
        self._mean = 0.0
        self._variance = 0.0

    def observe(self, loss: float) -> bool:
        """Take a loss into account; True where it is a spike."""
        limit = self._limit()
        spike = not math.isfinite(loss) or loss > limit
        self.spikes += spike
        self._take(min(loss, limit) if math.isfinite(loss) else self._mean)
        return spike

    def state_dict(self) -> dict[str, Any]:
        """Return the counts and sums so far."""
        return {"spikes": self.spikes, "seen": self._seen, "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.spikes, self._seen = int(state["spikes"]), int(state["seen"])
        self._mean, self._variance = float(state["mean"]), float(state["variance"])

    def _limit(self) -> float:
        if self._seen < self.warm_up:
            return math.inf
        return self._mean + self.deviations * math.sqrt(self._variance) + 1e-6

    def _take(self, loss: float) -> None:
        self._seen += 1
        rate = max(self.rate, 1 / self._seen)  # a plain mean at first
        gap = loss - self._mean
        self._mean += rate * gap
        self._variance = (1 - rate) * (self._variance + rate * gap * gap)
