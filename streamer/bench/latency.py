"""Latencies as they are reported. Every value of a run is kept, so quantiles are exact and no bucket rounds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
_PER_DOUBLING = 4


def summary(values_ms: Sequence[float] | NDArray[np.floating], digits: int = 3) -> dict[str, float]:
    """Give p50, p90, p99 and the maximum; empty where nothing was measured.

    A quantile is the smallest value that at least this share of all values does not exceed, so it is one that was seen.

    >>> summary([1.0, 2.0, 3.0, 100.0])
    {'p50_ms': 2.0, 'p90_ms': 100.0, 'p99_ms': 100.0, 'max_ms': 100.0}
    >>> summary([])
    {}
    """
    if not len(values_ms):
        return {}
    values = np.sort(np.asarray(values_ms, np.float64))
    found = {name: quantile(values, share) for name, share in QUANTILES.items()}
    return {name: round(value, digits) for name, value in {**found, "max_ms": float(values[-1])}.items()}


def quantile(ordered: NDArray[np.float64], share: float) -> float:
    """Look up a quantile of values in ascending order."""
    return float(ordered[max(int(np.ceil(share * len(ordered))), 1) - 1])


def histogram(values_ms: Sequence[float] | NDArray[np.floating]) -> dict[str, int]:
    """Count values by their upper bound; four bounds a doubling, so a bound is at most 19 % above its values.

    >>> histogram([0.9, 1.0, 3.9])
    {'1': 2, '4': 1}
    """
    if not len(values_ms):
        return {}
    exponents = np.ceil(_PER_DOUBLING * np.log2(np.maximum(np.asarray(values_ms, np.float64), 1e-3)))
    places, counts = np.unique(exponents, return_counts=True)
    return {
        f"{2 ** (place / _PER_DOUBLING):.4g}": int(count) for place, count in zip(places.tolist(), counts, strict=True)
    }
