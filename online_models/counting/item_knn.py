"""Online item-kNN: items that share sessions are neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.counting.pairs import PairLearner, Rows, newest_distinct_many


class ItemKNN(PairLearner):
    """Cosine similarity of co-occurrence within a sliding window of a user's last ``window`` events.

    ``w(i → j) = c_ij / sqrt(n_i · n_j)``, where ``c_ij`` counts the events on ``j`` with ``i`` among the
    ``window`` items before it, in both directions, and ``n`` counts events on an item. A candidate's score sums ``w``
    over the user's newest items (:mod:`online_models.sources`).

    Parameters
    ----------
    rows
        Rows of the catalogue.
    width
        Partners that each item keeps.
    window
        How far back a partner may lie.

    References
    ----------
    Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001. What differs: counts are
    updated on every event inside a window, never recomputed over whole users.

    Examples
    --------
    >>> knn = ItemKNN(rows=8, width=4)
    >>> knn.observe(np.array([2, 3]), 4)
    >>> knn.best(3, 2)[0].tolist()
    [4]
    """

    name = "item_knn"

    def __init__(self, rows: int = 20_000, width: int = 256, window: int = 10) -> None:
        super().__init__(rows, width)
        self.window = window

    def observe_many(self, histories: Rows, targets: Rows) -> None:
        """Count each target with each of the newest ``window`` items before it, both ways."""
        events, partners, _ = newest_distinct_many(histories, self.window, targets)
        np.add.at(self.item_counts, targets, 1)
        self._touched.update(targets.tolist(), partners.tolist())
        both = np.concatenate([partners, targets[events]]), np.concatenate([targets[events], partners])
        self.pairs.add(*both, np.ones(2 * len(partners), np.float32))

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Partners and cosine weights of rows [H] -> [H, W], [H, W]."""
        items, counts = self.pairs.lookup(rows)
        scale = np.sqrt(np.maximum(self.item_counts[rows], 1))[:, None] * np.sqrt(
            np.maximum(self.item_counts[items], 1)
        )
        return items, counts / scale
