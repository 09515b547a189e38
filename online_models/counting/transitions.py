"""Last-item transitions: a first-order Markov chain over items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.counting.pairs import PairLearner, Rows, newest_distinct_many


class Transitions(PairLearner):
    """The chance that ``j`` comes right after ``i``: ``w(i → j) = c_{i→j} / (n_i + 1)``.

    Examples
    --------
    >>> learner = Transitions(rows=8, width=4)
    >>> learner.observe(np.array([2, 3]), 4)
    >>> learner.best(3, 1)[0].tolist(), learner.best(2, 1)[0].tolist()
    ([4], [])
    """

    name = "transitions"

    def observe_many(self, histories: Rows, targets: Rows) -> None:
        """Count the step from the newest item to each target."""
        events, before, _ = newest_distinct_many(histories, 1, targets)
        np.add.at(self.item_counts, before, 1)
        self._touched.update(before.tolist())
        self.pairs.add(before, targets[events], np.ones(len(before), np.float32))

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Followers and transition probabilities of rows [H] -> [H, W], [H, W]."""
        items, counts = self.pairs.lookup(rows)
        return items, counts / (self.item_counts[rows] + 1)[:, None]
