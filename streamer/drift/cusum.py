"""A cumulative sum of block means against a reference that leaves out what is under suspicion."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

_OVERSHOOT = 1.166  # how far a sum of normal steps jumps past its limit, twice (Siegmund)


class Cusum:
    r"""Page's CUSUM: alarms once the means of blocks have been above their reference for longer than by chance.

    With block means :math:`\bar x_t`, standardised by the blocks of the reference, and half of the least shift, k:

    .. math:: S_t = \max(S_{t-1} + z_t - k,\, 0), \qquad z_t = (\bar x_t - m) / s, \qquad \text{alarm at } S_t > h

    Means of blocks are nearer to normal than the values are, and their deviation holds how much neighbours resemble
    each other. Blocks become part of the reference only once the sum is back at zero, so that a shift does not pull its
    own reference along.

    Parameters
    ----------
    delta
        Wanted chance of a false alarm at each block; it sets the limit h.
    least_shift
        Least shift of the mean worth an alarm, in deviations of one value.
    block
        Values whose mean is one step.
    reference
        Blocks that the reference keeps, the latest.
    least_reference
        Blocks before the first step.

    References
    ----------
    E. S. Page, "Continuous inspection schemes", Biometrika 1954. D. Siegmund, "Sequential Analysis", 1985, for
    :math:`E[\text{time to a false alarm}] \approx (e^{2 k (h + 1.166)} - 1 - 2 k (h + 1.166)) / 2 k^2`. What differs:
    the reference is learnt, and goes on to be; the standard error of its mean is added to k.

    Examples
    --------
    >>> draw, detector = np.random.default_rng(0), Cusum(delta=1e-5)
    >>> any(detector.update(value) for value in draw.normal(0, 1, 20_000))
    False
    >>> next(n for n, value in enumerate(draw.normal(0.5, 1, 2_000)) if detector.update(value)) < 500
    True
    """

    def __init__(
        self,
        delta: float,
        least_shift: float = 0.25,
        block: int = 16,
        reference: int = 200,
        least_reference: int = 20,
    ) -> None:
        self.half_shift = least_shift * math.sqrt(block) / 2
        self.limit = limit_of(delta, self.half_shift)
        self.total = 0.0
        self._block, self._least_reference = block, least_reference
        self._reference: deque[float] = deque(maxlen=reference)
        self._suspects: list[float] = []  # means since the sum was last at zero
        self._values: list[float] = []

    @property
    def suspicious(self) -> bool:
        """Whether a third of the way to an alarm is gone."""
        return self.total > self.limit / 3

    def update(self, value: float) -> bool:
        """Take a value; whether the mean has risen. After an alarm it goes on as it is."""
        self._values.append(value)
        if len(self._values) < self._block:
            return False
        mean, self._values = float(np.mean(self._values)), []
        if len(self._reference) >= self._least_reference:
            self.total = max(self.total + self._step(mean), 0.0)
        self._suspects.append(mean)
        if self.total == 0:
            self._reference.extend(self._suspects)
            self._suspects = []
        return self.total > self.limit

    def _step(self, mean: float) -> float:
        reference = np.array(self._reference)  # [blocks]
        slack = self.half_shift + 1 / math.sqrt(len(reference))
        return float((mean - reference.mean()) / (reference.std(ddof=1) or 1.0)) - slack


def limit_of(delta: float, half_shift: float) -> float:
    """Find h at which false alarms are 1 / delta steps apart, by Siegmund's formula.

    >>> [round(limit_of(delta, 0.5), 1) for delta in (1e-3, 1e-5)]
    [5.1, 9.7]
    """
    wanted, exponent = 2 * half_shift**2 / delta, 1.0
    for _ in range(50):  # exponent = log(1 + wanted + exponent) contracts
        exponent = math.log(1 + wanted + exponent)
    return exponent / (2 * half_shift) - _OVERSHOOT
