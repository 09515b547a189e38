"""Ranking metrics: pure functions of ranks, and averages that are fed from a stream.

Ranks are pessimistic: whatever ties with the positive stands before it, so a model that scores everything alike earns
nothing. A score of NaN counts against the model wherever it stands.

>>> ranks = ranks_of(np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.3]]), np.array([1, 0]))
>>> ranks.tolist(), hit(ranks, 1).tolist(), reciprocal(ranks, 2).tolist()
([1, 3], [1.0, 0.0], [1.0, 0.0])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]


def ranks_of(scores: NDArray[Any], positives: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> Ranks:
    """Rank of each positive among its candidates, from 1.

    Parameters
    ----------
    scores
        [B, N]
    positives
        [B] column of the positive.
    mask
        [B, N] True where there is a candidate; everywhere where None.
    """
    own = np.take_along_axis(scores, positives[:, None], axis=1)  # [B, 1]
    # "not below" instead of "above or equal": comparisons with NaN are false
    before = ~(scores < own)  # [B, N]
    if mask is not None:
        before &= mask
    np.put_along_axis(before, positives[:, None], True, axis=1)
    ranks: Ranks = before.sum(axis=1)
    return ranks


def hit(ranks: Ranks, k: int) -> Floats:
    """1 where the positive is among the first k. [B]."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> Floats:
    """Discounted gain ``1 / log2(1 + rank)`` where the positive is among the first k; the ideal is 1. [B].

    >>> ndcg(np.array([1, 3, 11]), 10).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)


def reciprocal(ranks: Ranks, k: int) -> Floats:
    """``1 / rank`` where the positive is among the first k. [B]."""
    return np.where(ranks <= k, 1 / ranks, 0.0)


def rank_biased_overlap(left: Sequence[Any], right: Sequence[Any], persistence: float = 0.9) -> float:
    """How alike two rankings are at the top, from 0 to 1, extrapolated to where the shorter list ends [1]_.

    ``RBO = A_k p^k + (1 - p) / p · Σ_{d=1..k} A_d p^d`` with A_d the share that the first d places have in common.

    Raises
    ------
    ValueError
        ``persistence`` is not between 0 and 1.

    References
    ----------
    .. [1] W. Webber, A. Moffat, J. Zobel, "A Similarity Measure for Indefinite Rankings", TOIS 2010.

    Examples
    --------
    >>> rank_biased_overlap("abc", "abc"), rank_biased_overlap("abc", "xyz")
    (1.0, 0.0)
    """
    if not 0 < persistence < 1:
        raise ValueError(f"persistence is {persistence}; give a number between 0 and 1, such as 0.9")
    depth = min(len(left), len(right))
    if depth == 0:
        return 1.0 if len(left) == len(right) else 0.0
    ours: set[object] = set()
    theirs: set[object] = set()
    agreements = []
    for d, (one, other) in enumerate(zip(left, right, strict=False), start=1):
        ours.add(one)
        theirs.add(other)
        agreements.append(len(ours & theirs) / d)
    weighted = sum(share * persistence**d for d, share in enumerate(agreements, start=1))
    return agreements[-1] * persistence**depth + (1 - persistence) / persistence * weighted


def log_loss(probabilities: Floats, labels: Floats) -> Floats:
    """``-[y log p + (1 - y) log(1 - p)]``, probabilities kept off 0 and 1. [B].

    >>> log_loss(np.array([0.5]), np.array([1.0]))
    array([0.693])
    """
    safe = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return -(labels * np.log(safe) + (1 - labels) * np.log1p(-safe))


class Average:
    """Mean and standard error of a stream of values (Welford's sums, merged a batch at a time).

    >>> average = Average()
    >>> average.update([1.0, 2.0]); average.update([3.0])
    >>> average.mean, average.standard_error
    (2.0, 0.577)
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared deviations from the mean

    def update(self, values: Sequence[float] | Floats) -> None:
        """Take a batch of values into account."""
        batch = np.asarray(values, np.float64)
        if batch.size == 0:
            return
        mean, total = float(batch.mean()), self.count + batch.size
        gap = mean - self.mean
        self._squares += float(((batch - mean) ** 2).sum()) + gap * gap * self.count * batch.size / total
        self.mean += gap * batch.size / total
        self.count = total

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN before the second value."""
        return math.sqrt(self._squares / (self.count - 1) / self.count) if self.count > 1 else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        return {"count": self.count, "mean": self.mean, "squares": self._squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.count, self.mean, self._squares = state["count"], state["mean"], state["squares"]


class RankingMetrics:
    """HR, NDCG and MRR at several cut-offs, from a stream of ranks.

    >>> metrics = RankingMetrics(cutoffs=(1, 10))
    >>> metrics.update(np.array([1, 4]))
    >>> metrics.means()["hr@1"], metrics.means()["mrr@10"], metrics.count
    (0.5, 0.625, 2)
    """

    def __init__(self, cutoffs: Sequence[int] = (10,)) -> None:
        self.cutoffs = tuple(cutoffs)
        self._averages = {f"{name}@{k}": Average() for k in self.cutoffs for name in _METRICS}

    @property
    def count(self) -> int:
        """Ranks seen so far."""
        return next(iter(self._averages.values())).count

    def update(self, ranks: Ranks | Sequence[int]) -> None:
        """Take a batch of ranks [B] into account; a positive that was no candidate has rank infinity (any rank > k)."""
        given = np.asarray(ranks)
        for k in self.cutoffs:
            for name, metric in _METRICS.items():
                self._averages[f"{name}@{k}"].update(metric(given, k))

    def means(self) -> dict[str, float]:
        """Means so far, by name: ``hr@10``, ``ndcg@10``, ``mrr@10``."""
        return {name: average.mean for name, average in self._averages.items()}

    def standard_errors(self) -> dict[str, float]:
        """Return the standard errors of the means."""
        return {name: average.standard_error for name, average in self._averages.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        return {name: average.state_dict() for name, average in self._averages.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        for name, average in self._averages.items():
            average.load_state_dict(state[name])


_METRICS = {"hr": hit, "ndcg": ndcg, "mrr": reciprocal}


class Coverage:
    """Share of the catalogue's rows that lists have shown.

    >>> coverage = Coverage(rows=10)
    >>> coverage.update(np.array([2, 3, 3, 0])); coverage.share(items=4)
    0.5
    """

    def __init__(self, rows: int) -> None:
        self._shown: NDArray[np.bool_] = np.zeros(rows, bool)

    def update(self, rows: NDArray[np.int64]) -> None:
        """Take lists of rows (of any shape) into account; padding and unknown do not count."""
        self._shown[rows[rows > 1]] = True

    def share(self, items: int) -> float:
        """Distinct rows shown, as a share of the items that the catalogue holds."""
        return float(self._shown.sum()) / max(items, 1)


class Calibration:
    """Expected calibration error of probabilities, in bins of equal width.

    ``ECE = Σ_b n_b / n · |mean label_b - mean probability_b|``

    >>> calibration = Calibration(bins=10)
    >>> calibration.update(np.array([0.8, 0.8]), np.array([1.0, 0.0]))
    >>> calibration.error, calibration.ratio
    (0.3, 1.6)
    """

    def __init__(self, bins: int = 20) -> None:
        self._bins = bins
        self._sums: Floats = np.zeros((3, bins))  # counts, probabilities, labels

    def update(self, probabilities: Floats, labels: Floats) -> None:
        """Take a batch [B] into account."""
        places = np.clip((probabilities * self._bins).astype(np.int64), 0, self._bins - 1)
        for row, values in enumerate((np.ones(len(places)), probabilities, labels)):
            self._sums[row] += np.bincount(places, values, self._bins)

    @property
    def error(self) -> float:
        """Expected calibration error; 0 before the first value."""
        counts, probabilities, labels = self._sums
        return float(np.abs(labels - probabilities).sum() / max(counts.sum(), 1))

    @property
    def ratio(self) -> float:
        """Predicted positives over real ones: above 1 is overconfident; NaN before the first positive."""
        _, probabilities, labels = self._sums.sum(axis=1)
        return float(probabilities / labels) if labels > 0 else math.nan
