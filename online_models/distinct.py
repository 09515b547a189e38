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
    kept: Rows = rows.compress(places[rows] == numbers).astype(np.int64, copy=False)
    return kept


def numbered(rows: Rows) -> tuple[Rows, Rows]:
    """Distinct rows in order, and the place of each of ``rows`` [K] among them. [U], [K].

    >>> [found.tolist() for found in numbered(np.array([9, 3, 9, 7]))]
    [[3, 7, 9], [2, 0, 2, 1]]
    """
    if not len(rows):
        return rows, rows
    places = _scratch.up_to(int(rows.max()) + 1)
    numbers = np.arange(len(rows), dtype=np.int32)
    places[rows] = numbers
    known = np.sort(rows.compress(places[rows] == numbers))
    places[known] = numbers[: len(known)]
    return known, places[rows].astype(np.int64)


def without(rows: Rows, others: NDArray[np.integer]) -> Rows:
    """Those of ``rows`` [K] that are not among ``others``; none is negative.

    >>> without(np.array([9, 3, 7]), np.array([3, 4])).tolist()
    [9, 7]
    """
    if not len(rows) or not len(others):
        return rows
    places = _scratch.up_to(int(max(rows.max(), others.max())) + 1)
    places[rows] = 1
    places[others] = 0
    kept: Rows = rows[places[rows] == 1]
    return kept


def numbers_within(groups: Rows) -> Rows:
    """Count the entries of each group from 0; ``groups`` [K] rises, and none is negative. [K].

    >>> numbers_within(np.array([0, 0, 2, 2, 2])).tolist()
    [0, 1, 0, 1, 2]
    """
    first = np.flatnonzero(np.diff(groups, prepend=-1))  # [U] where each group begins
    numbers: Rows = np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))
    return numbers
