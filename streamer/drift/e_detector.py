"""A sequential test whose false alarms are bounded whatever the distribution."""

from __future__ import annotations

import numpy as np

BETS = np.array([0.02, 0.05, 0.1, 0.25, 0.5])


class EDetector:
    r"""Alarms once the mean of bounded values has been above zero for long enough to be no chance.

    Each bet :math:`\lambda` keeps a wealth that grows where values are positive and begins again at one:

    .. math:: M_t = \max(M_{t-1}, 1) (1 + \lambda x_t), \qquad x_t \in [-1, 1]

    The alarm comes when the mean wealth over the bets reaches 1/alpha. While the conditional mean of every value is at
    most zero, :math:`E[\text{time of the first alarm}] \ge 1/\alpha`, for any dependence between the values.

    Parameters
    ----------
    alpha
        One over the least mean number of values between false alarms.

    References
    ----------
    J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2022
    (2203.03532). Here: the CUSUM form with a fixed mixture of bets.

    Examples
    --------
    >>> detector = EDetector(alpha=1e-4)
    >>> any(detector.update(-0.01) for _ in range(1_000)), any(detector.update(0.5) for _ in range(100))
    (False, True)
    """

    def __init__(self, alpha: float = 1e-6) -> None:
        self.alpha = alpha
        self.since = 0
        self._wealth = np.ones(len(BETS))
        self._age = np.zeros(len(BETS), np.int64)  # values since each wealth was last at one

    def update(self, value: float) -> bool:
        """Take a value, cut to [-1, 1]; whether this is an alarm. The test goes on as it is."""
        value = min(max(value, -1.0), 1.0)
        fresh = self._wealth <= 1
        self._age = np.where(fresh, 1, self._age + 1)
        self._wealth = np.maximum(self._wealth, 1) * (1 + BETS * value)
        if self._wealth.mean() < 1 / self.alpha:
            return False
        self.since = int(self._age[self._wealth.argmax()])
        return True
