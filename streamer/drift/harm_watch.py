"""Whether a value that should not be above zero has come to be: the learner against a frozen copy of itself."""

from __future__ import annotations

from collections import deque

import numpy as np

from streamer.drift.e_detector import EDetector
from streamer.drift.mean_watch import Shift, Values
from streamer.drift.records import Window

_RANGE = 2.0  # nats; larger differences count as this


class HarmWatch:
    """Takes the loss of what learns minus the loss of what stands still, and alarms where that is above ``margin``.

    Parameters
    ----------
    alpha
        One over the least mean number of values between false alarms, as in
        :class:`~streamer.drift.e_detector.EDetector`.
    margin
        Nats by which the learner may be worse.
    memory
        Values kept as evidence.

    Examples
    --------
    >>> watch = HarmWatch(alpha=1e-6)
    >>> any(watch.update(-0.1) for _ in range(500)), any(watch.update(0.8) for _ in range(100))
    (False, True)
    """

    name = "e-detector"
    suspicious = False
    dismissed = 0

    def __init__(self, alpha: float, margin: float = 0.02, memory: int = 3_000) -> None:
        self._alpha, self._margin = alpha, margin
        self._values: deque[float] = deque(maxlen=memory)
        self._detector = EDetector(alpha)

    def update(self, value: float) -> Shift | None:
        """Take a value; the shift, once."""
        self._values.append(value)
        if not self._detector.update((value - self._margin) / _RANGE):
            return None
        values, length = np.array(self._values), min(self._detector.since, len(self._values))
        before, after = values[:-length], values[-length:]
        self.restart()
        return Shift(length, 1 / self._alpha, _window(before), _window(after))

    def restart(self) -> None:
        """Begin anew: what stands still has been replaced."""
        self._detector = EDetector(self._alpha)
        self._values.clear()

    def recent(self) -> tuple[float, float]:
        """Mean of the latest values, and zero, which it should not exceed; NaN where there is none."""
        return (float(np.mean(list(self._values)[-256:])) if self._values else np.nan), 0.0


def _window(values: Values) -> Window:
    if not len(values):
        return Window(examples=0, mean=0.0)
    return Window(examples=len(values), mean=float(values.mean()), deviation=float(values.std()))
