"""Neighbour tables: for every item a bounded list of other items with weights, best first.

Counting learners write them, row deltas carry them, the server reads them. A reader needs :meth:`lookup` alone.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from online_models.distinct import numbers_within


class Neighbours(Protocol):
    """What a candidate source reads: some rows' neighbours."""

    def lookup(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours and weights of rows [H] -> [H, M], [H, M]; item 0 pads."""
        ...


class NeighbourTable:
    """Fixed-width neighbour lists of every row, as a server holds them.

    >>> table = NeighbourTable(rows=4, width=2)
    >>> table.put(3, np.array([2, 1]), np.array([.5, .25]))
    >>> table.lookup(np.array([3, 0]))[0].tolist()
    [[2, 1], [0, 0]]
    """

    def __init__(self, rows: int, width: int) -> None:
        self.items = np.zeros((rows, width), np.int32)  # [R, M]
        self.weights = np.zeros((rows, width), np.float32)  # [R, M]

    def put(self, row: int, items: NDArray[np.integer], weights: NDArray[np.floating]) -> None:
        """Replace one row by the given neighbours, cut to the width of the table."""
        kept = min(len(items), self.items.shape[1])
        new_items = np.zeros(self.items.shape[1], np.int32)
        new_weights = np.zeros(self.items.shape[1], np.float32)
        new_items[:kept], new_weights[:kept] = items[:kept], weights[:kept]
        self.items[row], self.weights[row] = new_items, new_weights

    def lookup(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours and weights of rows [H] -> [H, M], [H, M]; rows past the end have none."""
        known = np.where(rows < len(self.items), rows, 0)
        return self.items.take(known, axis=0), self.weights.take(known, axis=0)

    def grow(self, rows: int) -> None:
        """Add empty rows up to ``rows``."""
        missing = rows - len(self.items)
        if missing > 0:
            width = self.items.shape[1]
            self.items = np.concatenate([self.items, np.zeros((missing, width), np.int32)])
            self.weights = np.concatenate([self.weights, np.zeros((missing, width), np.float32)])


class PairCounts:
    """Bounded sparse counts of item pairs: each row keeps its ``width`` largest partners.

    When a row is full the newcomer takes the place of the smallest count, so memory stays ``8 · R · width`` bytes.

    >>> counts = PairCounts(rows=4, width=2)
    >>> for partner in (2, 2, 3):
    ...     counts.add(np.array([1]), np.array([partner]), np.array([1.]))
    >>> sorted(zip(*(a[0].tolist() for a in counts.lookup(np.array([1])))))
    [(2, 2.0), (3, 1.0)]
    """

    def __init__(self, rows: int, width: int) -> None:
        self.items = np.zeros((rows, width), np.int32)  # [R, W]
        self.counts = np.zeros((rows, width), np.float32)  # [R, W]

    def add(self, rows: NDArray[np.integer], partners: NDArray[np.integer], amounts: NDArray[np.floating]) -> None:
        """Add ``amounts`` [K] to the pairs (row, partner) [K]; a pair that stands there twice gets both."""
        rows, partners, amounts = self._distinct(rows, partners, amounts)
        match = self.items[rows] == partners[:, None]  # [K, W]
        slots = match.argmax(axis=1)
        known = match[np.arange(len(rows)), slots]
        self.counts[rows[known], slots[known]] += amounts[known]
        self._add_new(rows[~known], partners[~known], amounts[~known])

    def _distinct(
        self, rows: NDArray[np.integer], partners: NDArray[np.integer], amounts: NDArray[np.floating]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Pairs in order, each once with its whole amount."""
        keys, places = np.unique(rows.astype(np.int64) * len(self.items) + partners, return_inverse=True)
        summed = np.bincount(places, amounts, minlength=len(keys)).astype(np.float32)
        return keys // len(self.items), keys % len(self.items), summed

    def _add_new(self, rows: NDArray[np.int64], partners: NDArray[np.int64], amounts: NDArray[np.float32]) -> None:
        """Let newcomers take the smallest counts, in turns: the first of every row, then the next of every row."""
        if not len(rows):
            return
        turns = numbers_within(rows)
        for turn in range(int(turns.max()) + 1):
            now = np.flatnonzero(turns == turn)
            slots = self.counts[rows[now]].argmin(axis=1)
            self.items[rows[now], slots], self.counts[rows[now], slots] = partners[now], amounts[now]

    def lookup(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Partners and counts of rows [H] -> [H, W], [H, W], in no order."""
        return self.items[rows], self.counts[rows]

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Forget rows whose item has left the catalogue, wherever they stand."""
        self.items[rows], self.counts[rows] = 0, 0
        gone = np.isin(self.items, rows)
        self.items[gone], self.counts[gone] = 0, 0
