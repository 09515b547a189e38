"""Whether the level of a signal has moved: a detector proposes, a second window of fresh values confirms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.drift.detectors import MAKERS, Detector
from streamer.drift.records import Window

_BLOCKS = 8
_FEW_WINDOWS = 6
_MOST_LOOKS = 4  # at a proposal, each after as many fresh values as the first
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """A confirmed move: how many of the latest values lie behind it, and the figures of both sides."""

    length: int
    statistic: float
    before: Window
    after: Window


@dataclass(frozen=True, kw_only=True)
class Strictness:
    """When a move counts.

    Attributes
    ----------
    warm_up
        Values before the first test.
    confirm
        Fresh values after a proposal, on which it is judged.
    least_effect
        Difference of the means in standard deviations of a single value.
    least_t
        Welch's t over the means of blocks, so that neighbours that resemble each other do not pass for evidence.
    memory
        Values kept.
    """

    warm_up: int = 500
    confirm: int = 64
    least_effect: float = 0.15
    least_t: float = 5.0
    memory: int = 3_000
    delta: float = 1e-4


class MeanWatch:
    """Watches one signal, in one direction or in both.

    Parameters
    ----------
    detector
        A key of :data:`~streamer.drift.detectors.MAKERS`.
    strictness
        When a move counts.
    direction
        1 where only a rise is bad, -1 for a fall, 0 for both.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> watch = MeanWatch("adwin", Strictness(), direction=1)
    >>> any(watch.update(value) for value in draw.normal(0, 1, 2_000))
    False
    >>> shifts = [shift for value in draw.normal(1, 1, 1_000) if (shift := watch.update(value))]
    >>> len(shifts), round(shifts[0].before.mean), round(shifts[0].after.mean)
    (1, 0, 1)
    """

    def __init__(self, detector: str, strictness: Strictness, direction: int = 1) -> None:
        self.name = detector
        self.strictness, self.direction = strictness, direction
        self.dismissed = 0
        self._values: deque[float] = deque(maxlen=strictness.memory)
        self._restart()

    @property
    def suspicious(self) -> bool:
        """Whether a proposal waits for its confirmation, or may be near."""
        return self._proposed or self._detector.suspicious

    def update(self, value: float) -> Shift | None:
        """Take a value; a confirmed move, once."""
        self._values.append(value)
        self._count += 1
        if self._proposed:
            self._fresh += 1
            return self._judge() if self._fresh % self.strictness.confirm == 0 else None
        if self._count <= self.strictness.warm_up:
            if self._count == self.strictness.warm_up:
                self._scale()
            return None
        if self._detector.update(self._standardised(value)):
            self._propose()
        return None

    def recent(self) -> tuple[float, float]:
        """Means of the latest window and of what lies before it; NaN where there is nothing."""
        values, size = np.array(self._values), self.strictness.confirm
        before, after = values[:-size], values[-size:]
        return float(after.mean()) if len(after) else np.nan, float(before.mean()) if len(before) else np.nan

    def values(self) -> Values:
        """Return the values kept, for a snapshot."""
        return np.array(self._values)

    def refill(self, values: Values) -> None:
        """Continue from values kept; what the detector knew is learnt from them again, without alarms."""
        for value in values.tolist():
            self.update(value)
        self._proposed = False

    def _restart(self) -> None:
        self._detector: Detector = MAKERS[self.name](self.strictness.delta)
        self._proposed = False
        self._count = self._fresh = 0
        self._centre, self._spread = 0.0, 1.0

    def _scale(self) -> None:
        values = np.array(self._values)[-self.strictness.warm_up :]
        self._centre, self._spread = float(values.mean()), float(values.std()) or 1.0
        for value in values.tolist():  # what is known to be unmoved is where a detector begins
            self._detector.update(self._standardised(value))

    def _standardised(self, value: float) -> float:
        return (value - self._centre) / self._spread * (self.direction or 1)

    def _propose(self) -> None:
        values = np.array(self._values)
        place = change_point(values)
        if self.direction == 0 or (values[place:].mean() - values[:place].mean()) * self.direction > 0:
            self._proposed, self._fresh = True, 0

    def _judge(self) -> Shift | None:
        values = np.array(self._values)
        place = change_point(values)
        before, fresh, after = values[:place], values[-self._fresh :], values[place:]
        shift = Shift(len(after), _welch(before, after), _window(before), _window(after))
        effect = self._effect(before, fresh)
        if not self._counts(effect, shift):
            self._doubt(effect)
            return None
        self._values = deque(after.tolist(), maxlen=self.strictness.memory)  # the new regime is the new reference
        self._restart()
        return shift

    def _effect(self, before: Values, fresh: Values) -> float:
        """Return how far fresh values have moved in the direction proposed, in deviations."""
        effect = float((fresh.mean() - before.mean()) / (before.std() or 1.0)) if len(before) else 0.0
        return effect * self.direction if self.direction else abs(effect)

    def _counts(self, effect: float, shift: Shift) -> bool:
        enough = shift.before.examples >= self.strictness.confirm
        return enough and effect >= self.strictness.least_effect and abs(shift.statistic) >= self.strictness.least_t

    def _doubt(self, effect: float) -> None:
        """Wait for more where the fresh values point the right way; else go on as if nothing had been."""
        if effect < self.strictness.least_effect / 2 or self._fresh >= _MOST_LOOKS * self.strictness.confirm:
            self.dismissed += 1
            self._again()

    def _again(self) -> None:
        """Go on with a new detector, but without another warm-up."""
        self._detector = MAKERS[self.name](self.strictness.delta)
        self._proposed = False
        self._scale()


def change_point(values: Values) -> int:
    """Where a step fits the values [n] best: the first place behind it.

    >>> change_point(np.array([0.0] * 60 + [1.0] * 40))
    60
    """
    number = len(values)
    if number < 2:
        return 0
    sizes = np.arange(1, number)  # of the first part
    sums = np.cumsum(values)[:-1]
    gaps = (values.sum() - sums) / (number - sizes) - sums / sizes
    return int((sizes * (number - sizes) * gaps**2).argmax()) + 1


def _window(values: Values) -> Window:
    return Window(
        examples=len(values),
        mean=float(values.mean()) if len(values) else 0.0,
        deviation=float(values.std()) if len(values) else 0.0,
    )


def _welch(before: Values, after: Values) -> float:
    """Welch's t over means of blocks of equal size; 0 where there are too few.

    The difference must also stand out from how means of windows as long as ``after`` wander within ``before``: in a run
    of one user's events all blocks resemble each other.
    """
    size = max(len(after) // _BLOCKS, 1)
    first, second = _block_means(before, size), _block_means(after, size)
    if min(len(first), len(second)) < 3:
        return 0.0
    variance = first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)
    spread = np.sqrt(max(variance, _wander(before, len(after))))
    return float((second.mean() - first.mean()) / spread) if spread > 0 else 0.0


def _wander(values: Values, length: int) -> float:
    """Variance of the means of windows of this length, overlapping by three quarters; of shorter ones where few fit."""
    size = max(min(length, len(values) // _FEW_WINDOWS), 1)
    sums = np.concatenate([[0.0], values.cumsum()])
    means = (sums[size:] - sums[:-size])[:: max(size // 4, 1)] / size  # [windows]
    return float(means.var(ddof=1)) * size / length if len(means) > 1 else 0.0


def _block_means(values: Values, size: int) -> Values:
    whole = len(values) // size * size
    means: Values = values[len(values) - whole :].reshape(-1, size).mean(1)  # [blocks]
    return means
