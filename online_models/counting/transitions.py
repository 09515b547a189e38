"""Last-item transitions: a first-order Markov chain over items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.counting.pairs import PairLearner, Rows, newest_distinct


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

    def observe(self, history: Rows, target: int) -> None:
        """Count the step from the newest item to ``target``."""
        before, _ = newest_distinct(history, 1, target)
        if len(before):
            self.item_counts[before] += 1
            self.pairs.add(before, np.array([target]), np.ones(1, np.float32))
            self._touched.update(before.tolist())

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Followers and transition probabilities of rows [H] -> [H, W], [H, W]."""
        items, counts = self.pairs.lookup(rows)
        return items, counts / (self.item_counts[rows] + 1)[:, None]
