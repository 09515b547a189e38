"""Directional co-occurrence: what followed an item, weighed by how far behind it came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.counting.pairs import PairLearner, Rows, newest_distinct_many


class Cooccurrence(PairLearner):
    """Counts ``i → j`` with decay by distance: each event on ``j`` adds ``decay^k`` to the item k steps before it.

    ``w(i → j) = c_{i→j} / (n_i + smoothing)^α``, α = 0.5. Unlike item-kNN the order counts: what comes before is not
    what comes after.

    Parameters
    ----------
    rows
        Rows of the catalogue.
    width
        Partners that each item keeps.
    window
        How far back an event reaches.
    decay
        Weight lost with each step.

    Examples
    --------
    >>> learner = Cooccurrence(rows=8, width=4, decay=0.5)
    >>> learner.observe(np.array([2, 3]), 4)
    >>> [float(learner.pairs.lookup(np.array([row]))[1].max()) for row in (3, 2, 4)]
    [1.0, 0.5, 0.0]
    """

    name = "cooccurrence"

    def __init__(self, rows: int = 20_000, width: int = 256, window: int = 20, decay: float = 0.8) -> None:
        super().__init__(rows, width)
        self.window = window
        self.decay = decay

    def observe_many(self, histories: Rows, targets: Rows) -> None:
        """Add ``decay^k`` to every pair (item k steps back → target)."""
        events, before, steps = newest_distinct_many(histories, self.window, targets)
        np.add.at(self.item_counts, targets, 1)
        self._touched.update(targets.tolist(), before.tolist())
        self.pairs.add(before, targets[events], (self.decay**steps).astype(np.float32))

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Followers and weights of rows [H] -> [H, W], [H, W]."""
        items, counts = self.pairs.lookup(rows)
        scale: NDArray[np.float32] = np.sqrt(self.item_counts[rows] + 1)
        return items, counts / scale[:, None]
