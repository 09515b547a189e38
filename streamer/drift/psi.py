"""Compute the population stability index and Kolmogorov-Smirnov, between a reference and a window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from streamer.drift.records import Moved
from streamer.drift.window_watch import Comparison

OTHER = "(other)"
_MOST_NAMES = 20
_SHOWN = 5
_LEAST_P = 1e-4
Names = tuple[str, ...]
Counts = NDArray[np.float64]


def psi(before: Counts, after: Counts) -> float:
    r"""Return the population stability index of two sets of counts over the same bins [K], smoothed.

    .. math:: \sum_k (q_k - p_k) \log (q_k / p_k)

    Below 0.1 is usually called stable, above 0.25 a shift. Without any shift its mean is about
    :math:`(K - 1)(1/n + 1/m)`.

    Examples
    --------
    >>> psi(np.array([50.0, 50.0]), np.array([500.0, 500.0]))
    0.0
    >>> psi(np.array([500.0, 500.0]), np.array([900.0, 100.0])) > 0.25
    True
    """
    p, q = (counts + 0.5 for counts in (before, after))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def compare_names(kind: Literal["category", "surface"]) -> Callable[[Sequence[Names], Sequence[Names]], Comparison]:
    """PSI of the mix of names; the commonest have a bin each, the rest share one.

    >>> compare_names("surface")([("home",)] * 90 + [("search",)] * 10, [("search",)] * 50)[1][0].name
    'home'
    """

    def compare(reference: Sequence[Names], window: Sequence[Names]) -> Comparison:
        before, after = (Counter(name for names in rows for name in names) for rows in (reference, window))
        names = [name for name, _ in (before + after).most_common(_MOST_NAMES)]
        counts = [
            np.array([*(found[name] for name in names), found.total() - sum(found[name] for name in names)], float)
            for found in (before, after)
        ]
        return psi(*counts), top_moved(kind, [*names, OTHER], *counts)

    return compare


def top_moved(kind: Literal["category", "surface"], names: list[str], before: Counts, after: Counts) -> list[Moved]:
    """Names whose share has moved most, as shares before and after."""
    p, q = before / max(before.sum(), 1), after / max(after.sum(), 1)  # [K]
    places = np.argsort(-np.abs(q - p), kind="stable")[:_SHOWN].tolist()
    return [
        Moved(kind=kind, name=names[place], before=round(float(p[place]), 4), after=round(float(q[place]), 4))
        for place in places
        if p[place] != q[place]
    ]


def compare_features(names: Sequence[str]) -> Callable[[Sequence[list[float]], Sequence[list[float]]], Comparison]:
    """Largest PSI over the features, each in tenths of its reference; 0 where no KS test confirms that it moved.

    The p-value must lie below 1e-4 over the number of features.

    Parameters
    ----------
    names
        [F], in the order of the rows.
    """

    def compare(reference: Sequence[list[float]], window: Sequence[list[float]]) -> Comparison:
        before, after = np.array(reference), np.array(window)  # [R, F], [M, F]
        found = np.array([_binned(before[:, place], after[:, place]) for place in range(len(names))])  # [F]
        order = np.argsort(-found, kind="stable")[:_SHOWN].tolist()
        moved = [
            Moved(
                kind="feature",
                name=names[place],
                before=round(float(before[:, place].mean()), 4),
                after=round(float(after[:, place].mean()), 4),
            )
            for place in order
        ]
        p_value = float(ks_2samp(before[:, order[0]], after[:, order[0]], method="asymp").pvalue)
        return (float(found[order[0]]) if p_value < _LEAST_P / len(names) else 0.0), moved

    return compare


def _binned(before: Counts, after: Counts) -> float:
    edges = np.unique(np.quantile(before, np.linspace(0.1, 0.9, 9)))
    size = len(edges) + 1
    counts = [np.bincount(np.searchsorted(edges, one, side="left"), minlength=size) for one in (before, after)]
    return psi(counts[0].astype(float), counts[1].astype(float))
