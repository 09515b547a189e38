"""What is known of items beside what the sources say: how often and how lately they were taken, and what they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Interactions, Rows

Floats = NDArray[np.float32]
FACTS = 7
_NEWEST = 5  # events of the history that a candidate is compared with


class ItemFacts:
    """Counts and times of a stream, categories and dates of a catalogue.

    :meth:`of` gives for each candidate: log count, log age since the item was first taken, log time since it was last
    taken, share of its categories that the newest item has, the same over the newest five, distance and direction from
    their mean date of publication. What is not known is 0.

    Parameters
    ----------
    rows
        Rows of the catalogue.
    catalogue
        Categories and dates by row, never its events.

    Examples
    --------
    >>> facts = ItemFacts(rows=5)
    >>> facts.observe(3, 0.0); facts.observe(3, 100.0)
    >>> facts.of(np.array([3, 4]), np.array([2]), now_seconds=100.0)[:, 0].round(2).tolist()
    [0.14, 0.0]
    """

    def __init__(self, rows: int, catalogue: Interactions | None = None) -> None:
        self.counts = np.zeros(rows)  # [R]
        self._taken_seconds = np.full((2, rows), np.nan)  # first and last
        self.first_seconds, self.last_seconds = self._taken_seconds  # [R] each
        self.categories = _categories(rows, catalogue)  # [R, K] rows of unit sum
        self.years = _years(rows, catalogue)  # [R] NaN where unknown

    def fit(self, log: Interactions) -> None:
        """Count a whole log from nothing."""
        self.counts[:] = np.bincount(log.items, minlength=len(self.counts))
        self.first_seconds[:], self.last_seconds[:] = np.nan, np.nan
        order = np.argsort(log.times_seconds, kind="stable")
        self.last_seconds[log.items[order]] = log.times_seconds[order]  # the last write stays
        self.first_seconds[log.items[order[::-1]]] = log.times_seconds[order[::-1]]

    def observe(self, target: int, time_seconds: float) -> None:
        """Count one event."""
        self.counts[target] += 1
        self.last_seconds[target] = time_seconds
        if np.isnan(self.first_seconds[target]):
            self.first_seconds[target] = time_seconds

    def of(self, rows: Rows, history: Rows, now_seconds: float) -> Floats:
        """Facts of candidates [N] after a history [L]. [N, 7]."""
        newest = history[-_NEWEST:]
        facts = np.zeros((len(rows), FACTS), np.float32)
        facts[:, 0] = np.log1p(self.counts[rows]) / 8
        facts[:, 1:3] = self._log_ages(rows, now_seconds)
        if len(newest):
            categories = self.categories[newest]  # [H, K]
            wanted = np.stack([categories[-1] > 0, categories.mean(0)], axis=1)  # [K, 2]
            facts[:, 3:5] = self.categories[rows] @ wanted
            apart = np.clip((self.years[rows] - _mean(self.years[newest])) / 10, -3, 3)
            apart[np.isnan(apart)] = 0
            facts[:, 5], facts[:, 6] = np.abs(apart), apart
        return facts

    def _log_ages(self, rows: Rows, now_seconds: float) -> NDArray[np.float64]:
        """Log times since items were first and last taken, 0 where they never were. [N] -> [N, 2]."""
        ages = np.maximum(now_seconds - self._taken_seconds[:, rows], 0)  # [2, N] NaN where never
        ages[np.isnan(ages)] = 0
        logs: NDArray[np.float64] = np.log1p(ages).T / 15
        return logs


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _categories(rows: int, catalogue: Interactions | None) -> NDArray[np.float64]:
    listed = catalogue.item_categories if catalogue is not None else []
    count = 1 + max((max(of_item, default=0) for of_item in listed), default=0)
    table = np.zeros((rows, count))
    for row, of_item in enumerate(listed):
        table[row, list(of_item)] = 1
    shares: NDArray[np.float64] = table / np.maximum(table.sum(1, keepdims=True), 1)
    return shares


def _years(rows: int, catalogue: Interactions | None) -> NDArray[np.float64]:
    published = catalogue.item_published_seconds if catalogue is not None else None
    return np.full(rows, np.nan) if published is None else published / (365.25 * 86_400)
