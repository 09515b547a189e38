"""How likely each position of a slate is looked at, estimated from the clicks themselves."""

from __future__ import annotations

from math import log2

import msgspec

_PRIOR_CLICKS = 20.0
_LEAST = 0.02
_MOST_POSITIONS = 1_000


class PositionBias(msgspec.Struct, kw_only=True):
    r"""Examination propensities of the position-based click model, :math:`P(click \mid k, i) = \theta_k \gamma_i`.

    Both factors are estimated in turn as the stream passes, each from the other's present value:
    :math:`\theta_k = \sum clicks_k / \sum_{shown\ at\ k} \gamma_i` here, and
    :math:`\gamma_i = \sum clicks_i / \sum_{shown} \theta_k` in :mod:`feature_store.families.ctr`. A prior of
    :math:`1 / \log_2(2 + k)` worth 20 clicks steadies rare positions; :math:`\theta_0 = 1` fixes the scale.

    Examples
    --------
    >>> bias = PositionBias()
    >>> bias.propensity(0), bias.propensity(2)
    (1.0, 0.5)
    >>> for _ in range(10_000):
    ...     bias.update(0, taken=True, relevance=1.0)
    ...     bias.update(2, taken=False, relevance=1.0)
    >>> bias.propensity(2)
    0.02
    """

    clicks: list[float] = []  # [positions]
    expected: list[float] = []  # [positions] clicks there would have been with every position examined

    def update(self, position: int, *, taken: bool, relevance: float) -> None:
        """Count one exposure at ``position`` of an item whose present relevance is known."""
        position = min(position, _MOST_POSITIONS - 1)
        missing = position + 1 - len(self.clicks)
        if missing > 0:
            self.clicks.extend([0.0] * missing)
            self.expected.extend([0.0] * missing)
        self.clicks[position] += float(taken)
        self.expected[position] += relevance

    def propensity(self, position: int) -> float:
        """Share of users who look at ``position`` relative to the top, in [0.02, 1]."""
        return min(max(self._ratio(position) / self._ratio(0), _LEAST), 1.0)

    def _ratio(self, position: int) -> float:
        position = min(position, _MOST_POSITIONS - 1)
        known = position < len(self.clicks)
        clicks, expected = (self.clicks[position], self.expected[position]) if known else (0.0, 0.0)
        prior = 1 / log2(2 + position)
        return (clicks + _PRIOR_CLICKS * prior) / (expected + _PRIOR_CLICKS)
