"""What a protocol reports of its ranks and lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Floats, Interactions, Rows
from online_models.evaluation.metrics import Coverage, hit, ndcg, rank_biased_overlap, reciprocal
from online_models.recommenders import Factory, Recommender, Setting

CUTOFFS = (5, 10, 20)
LIST_LENGTH = 10
Progress = Callable[[int], None]
Mask = NDArray[np.bool_]


def no_progress(done: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run of one recommender gave.

    ``curve`` holds metrics over slices of the stream (empty for offline protocols), ``events`` which events of the log
    were tested and ``ranks`` where their items stood, so that two recommenders can be compared event by event.
    """

    metrics: dict[str, float]
    events: Rows  # [T]
    ranks: Rows  # [T]
    curve: dict[str, list[float]] = field(default_factory=dict)


def make_recommender(
    make: Factory, log: Interactions, seed: int, repeats: bool, fit_minutes: float | None = None
) -> Recommender:
    """Build a recommender for the catalogue of a log, of which it sees texts and categories but no event."""
    return make(
        Setting(
            rows=log.rows,
            user_count=log.user_count,
            seed=seed,
            repeats=repeats,
            sample=log.take(slice(0, 0)),
            fit_minutes=fit_minutes,
        )
    )


def ranking_means(ranks: Rows, cutoffs: tuple[int, ...] = CUTOFFS, suffix: str = "") -> dict[str, float]:
    """Mean HR, NDCG and MRR at each cut-off; NaN where there is no rank.

    >>> ranking_means(np.array([1, 4]), (1, 5))["hr@1"]
    0.5
    """
    metrics = {"hr": hit, "ndcg": ndcg, "mrr": reciprocal}
    return {
        f"{name}@{k}{suffix}": float(metric(ranks, k).mean()) if len(ranks) else float("nan")
        for name, metric in metrics.items()
        for k in cutoffs
    }


def debiased_hit_rate(ranks: Rows, target_counts: Rows, k: int) -> float:
    """Hit rate in which every item counts alike, however popular: a self-normalised inverse propensity estimate [1]_.

    ``Σ_e h_e / (1 + n_e)  /  Σ_e 1 / (1 + n_e)`` with h_e the hit and n_e how often the target had been taken before.

    Parameters
    ----------
    ranks
        [T]
    target_counts
        [T] events that the model could have learnt of each target.
    k
        Length of the list.

    References
    ----------
    .. [1] T. Schnabel et al., "Recommendations as Treatments", ICML 2016. The propensity is taken to be proportional
       to popularity, which is a convention and no measurement.

    Examples
    --------
    >>> debiased_hit_rate(np.array([1, 50]), np.array([9, 0]), 10)
    0.0909
    """
    weights = 1.0 / (1.0 + target_counts)
    return float((weights * hit(ranks, k)).sum() / weights.sum()) if len(ranks) else float("nan")


def list_measures(lists: Rows, shown_counts: Rows, rows: int, events_learnt: Floats | Any) -> dict[str, float]:
    """Coverage of the catalogue by lists [T, 10], and how popular what they show is.

    Parameters
    ----------
    lists
        [T, 10] catalogue rows, 0 where there is none.
    shown_counts
        [T, 10] how often each had been taken before.
    rows
        Rows of the catalogue, the two reserved ones included.
    events_learnt
        [T] or one number: events up to then; popularity is given as a share of them.
    """
    coverage = Coverage(rows)
    coverage.update(lists)
    shares = shown_counts / np.maximum(np.broadcast_to(events_learnt, len(lists)), 1)[:, None]  # [T, 10]
    shown = lists >= 2
    return {
        f"coverage@{LIST_LENGTH}": coverage.share(rows - 2),
        f"popularity@{LIST_LENGTH}": float(shares[shown].mean()) if shown.any() else float("nan"),
    }


def stability(lists: Rows, users: Rows) -> float:
    """Mean rank-biased overlap of each list with the same user's list before it; NaN where nobody has two.

    Parameters
    ----------
    lists
        [T, 10] in order of time.
    users
        [T]

    Examples
    --------
    >>> stability(np.array([[2, 3], [8, 9], [2, 3]]), np.array([5, 6, 5]))
    1.0
    """
    last: dict[int, list[int]] = {}
    overlaps = []
    for user, row in zip(users.tolist(), lists, strict=True):
        shown = row[row > 0].tolist()
        if user in last:
            overlaps.append(rank_biased_overlap(last[user], shown))
        last[user] = shown
    return float(np.mean(overlaps)) if overlaps else float("nan")


class Occurrences:
    """How often an item had occurred before an event, for many (item, event) pairs at once.

    >>> Occurrences(np.array([2, 3, 2, 2])).before(np.array([2, 2, 3]), np.array([0, 3, 3])).tolist()
    [0, 2, 1]
    """

    def __init__(self, items: Rows) -> None:
        self._events = len(items) + 1
        self._keys = np.sort(items * self._events + np.arange(len(items)))  # by item, then by event

    def before(self, items: Rows, events: Rows) -> Rows:
        """Occurrences of each item among the events with a smaller number."""
        begin = np.searchsorted(self._keys, items * self._events)
        end = np.searchsorted(self._keys, items * self._events + events)
        counts: Rows = end - begin
        return counts
