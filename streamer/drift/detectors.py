"""Change detectors under one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from river.drift import ADWIN, KSWIN, PageHinkley

from streamer.drift.cusum import Cusum

_SPREAD = 8.0  # deviations that are mapped onto ADWIN's unit interval


class Detector(Protocol):
    """Takes standardised values one by one; an unmoved stream has mean 0 and deviation 1.

    Attributes
    ----------
    suspicious
        Whether an alarm may be near, so that more values are worth having.
    """

    @property
    def suspicious(self) -> bool:
        """Whether an alarm may be near."""
        ...

    def update(self, value: float) -> bool:
        """Take a value; whether the stream has changed."""
        ...


class Adwin:
    """ADWIN: cuts its window where the means of two sides differ by more than chance.

    References
    ----------
    A. Bifet, R. Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007; river's detector.
    """

    suspicious = False

    def __init__(self, delta: float) -> None:
        self._detector = ADWIN(delta=delta, clock=8)

    def update(self, value: float) -> bool:
        """Take a value; whether the window was cut."""
        self._detector.update(min(max(value / _SPREAD + 0.5, 0.0), 1.0))
        return bool(self._detector.drift_detected)


class Other:
    """Any other detector of river, on the values as they are."""

    suspicious = False

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def update(self, value: float) -> bool:
        """Take a value; whether the stream has changed."""
        self._detector.update(value)
        return bool(self._detector.drift_detected)


MAKERS: dict[str, Callable[[float], Detector]] = {
    "cusum": Cusum,
    "adwin": Adwin,
    "page-hinkley": lambda delta: Other(PageHinkley(min_instances=30, delta=0.1, threshold=40.0, mode="up")),
    "kswin": lambda delta: Other(KSWIN(alpha=delta / 100, window_size=300, stat_size=100, seed=7)),
}
"""Detectors by the name that settings give; each is made with the wanted chance of a false alarm."""
