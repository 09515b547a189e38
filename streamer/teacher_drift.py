"""Drift in the teacher's own loss: the stream has moved on from what its version knows."""

from __future__ import annotations

from collections.abc import Iterable

from river.drift import ADWIN


class DriftWatch:
    """Asks for a refresh when the loss of the version that labels has risen.

    ADWIN cuts its window where the means of the two sides differ by more than chance; a fall of the loss asks nothing.

    Parameters
    ----------
    delta
        Chance of a false alarm; 0 never asks.

    References
    ----------
    A. Bifet, R. Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007; the detector is river's.

    Examples
    --------
    >>> watch = DriftWatch(0.002)
    >>> watch.observe([1.0] * 500), watch.observe([3.0] * 500)
    (False, True)
    """

    def __init__(self, delta: float) -> None:
        self._delta = delta
        self.restart()

    def restart(self) -> None:
        """Begin anew: the weights have changed."""
        self._detector = ADWIN(delta=self._delta) if self._delta > 0 else None

    def observe(self, losses: Iterable[float]) -> bool:
        """Take the losses of the newest examples; whether they have risen."""
        risen = False
        for loss in losses:
            risen = self._risen(loss) or risen
        return risen

    def _risen(self, loss: float) -> bool:
        if self._detector is None:
            return False
        before = self._detector.estimation
        self._detector.update(loss)
        return bool(self._detector.drift_detected) and self._detector.estimation > before
