"""Distinct rows without sorting: a scratch array with a place for every row, one for each thread."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class _Scratch(threading.local):
    """Places of rows. What it holds between two calls is garbage, so nobody has to clear it."""

    def __init__(self) -> None:
        self.places = np.zeros(1_024, np.int32)  # [R]

    def up_to(self, rows: int) -> NDArray[np.int32]:
        """Give a scratch array with room for ``rows``."""
        if rows > len(self.places):
            self.places = np.zeros(max(rows, 2 * len(self.places)), np.int32)
        return self.places


_scratch = _Scratch()


def distinct(rows: NDArray[np.integer]) -> Rows:
    """Rows without repeats, in the order of their first appearance. [K] -> [U].

    Each row's place is written down from the last to the first; a row stands where it appears first if its place is
    still the one written down. That is O(K), where sorting takes O(K log K).

    Parameters
    ----------
    rows
        None is negative.

    References
    ----------
    P. Briggs, L. Torczon, "An Efficient Representation for Sparse Sets", 1993: an array that is never cleared.

    Examples
    --------
    >>> distinct(np.array([7, 3, 7, 9, 3])).tolist()
    [7, 3, 9]
    """
    if not len(rows):
        return np.zeros(0, np.int64)
    places = _scratch.up_to(int(rows.max()) + 1)
    numbers = np.arange(len(rows), dtype=np.int32)
    places[rows[::-1]] = numbers[::-1]
    kept: Rows = rows[places[rows] == numbers].astype(np.int64, copy=False)
    return kept


def places_in(known: Rows, rows: NDArray[np.integer]) -> NDArray[np.int32]:
    """Place of each of ``rows`` [K] in ``known`` [U], which are distinct and hold them all. [K].

    >>> places_in(np.array([3, 7, 9]), np.array([9, 9, 3])).tolist()
    [2, 2, 0]
    """
    if not rows.size:
        return np.zeros(rows.shape, np.int32)
    places = _scratch.up_to(int(known.max()) + 1)
    places[known] = np.arange(len(known), dtype=np.int32)
    found: NDArray[np.int32] = places[rows]
    return found
