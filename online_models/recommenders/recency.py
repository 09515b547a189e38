"""Sources that look at recency alone: popularity with several half-lives, and what the user took last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders.logs import joined
from online_models.recommenders.pair_store import history_matrix

Floats = NDArray[np.float32]


class PopularityColumns:
    """Counts of items, one column a half-life: ``p_h(j) = Σ_events on j 2^((t - origin) / h)``.

    A blend looks at shares of the largest value, so increments that grow with time stand for counts that decay.

    Examples
    --------
    >>> source = PopularityColumns(rows=5, half_lives_days=(np.inf, 1.0))
    >>> source.observe(2, 0.); source.observe(2, 0.); source.observe(3, 2 * 86_400.)
    >>> source.columns(Histories.of([[]]))[:, 0].argmax(axis=1).tolist()
    [2, 3]
    """

    micro_batch = 1

    def __init__(self, rows: int, half_lives_days: Sequence[float] = (np.inf, 30.0, 3.0)) -> None:
        self.half_lives_seconds = np.array(half_lives_days, np.float64) * 86_400  # [S]
        self.counts = np.zeros((len(self.half_lives_seconds), rows))  # [S, R]
        self.origins_seconds: NDArray[np.float64] | None = None  # [S]

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Count a whole log, as if now were its end."""
        log = joined(train, validation)
        now = log.times_seconds.max(initial=0)
        for column, half_life in enumerate(self.half_lives_seconds):
            weights = 2.0 ** ((log.times_seconds - now) / half_life)
            self.counts[column] = np.bincount(log.items, weights, minlength=self.counts.shape[1])
        self.origins_seconds = np.full(len(self.half_lives_seconds), now)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Count events."""
        for target, time in zip(events.items.tolist(), events.times_seconds.tolist(), strict=True):
            self.observe(target, time)

    def observe(self, target: int, time_seconds: float) -> None:
        """Count one event."""
        if self.origins_seconds is None:
            self.origins_seconds = np.full(len(self.half_lives_seconds), time_seconds)
        halvings = (time_seconds - self.origins_seconds) / self.half_lives_seconds  # [S]
        for column in np.flatnonzero(halvings > 60):
            self.counts[column] *= 0.5 ** halvings[column]
            self.origins_seconds[column], halvings[column] = time_seconds, 0.0
        self.counts[:, target] += 2.0**halvings

    def score(self, histories: Histories) -> Floats:
        """Scores by the first half-life. [B, R]."""
        first: Floats = self.columns(histories)[0]
        return first

    def columns(self, histories: Histories) -> Floats:
        """Scores by every half-life, the same for everybody. [S, B, R]."""
        shares = (self.counts / np.maximum(self.counts.max(axis=1, keepdims=True), 1e-300)).astype(np.float32)
        columns: Floats = np.repeat(shares[:, None], len(histories), axis=1)
        return columns


class OwnItems:
    """What the user has taken, the newest first: ``decay^k`` for the item k steps back. Of use where items come again.

    Examples
    --------
    >>> OwnItems(rows=5, decay=0.5).score(Histories.of([[2, 3]])).tolist()
    [[0.0, 0.0, 0.5, 1.0, 0.0]]
    """

    micro_batch = 1

    def __init__(self, rows: int, *, last: int = 20, decay: float = 0.8) -> None:
        self.rows, self.last, self.decay = rows, last, decay

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Nothing to fit."""

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Nothing to learn."""

    def score(self, histories: Histories) -> Floats:
        """Score all items for each history. [B, R]."""
        scores: Floats = history_matrix(histories, self.rows, self.last, self.decay).toarray()
        return scores

    def columns(self, histories: Histories) -> Floats:
        """Scores as the one column of a blend. [1, B, R]."""
        return self.score(histories)[None]
