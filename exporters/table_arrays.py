"""Arrays of the served tables: neighbour lists that wait for a write, growth, and where some rows are named."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.neighbours import NeighbourTable


class GuardedNeighbours(NeighbourTable):
    """A neighbour table whose lookups wait for a row that is being written."""

    def __init__(self, rows: int, width: int, lock: threading.RLock) -> None:
        super().__init__(rows, width)
        self._lock = lock

    def lookup(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours and weights of rows [H] -> [H, M], [H, M]; rows past the end have none."""
        with self._lock:
            return super().lookup(rows)


def places_of(items: NDArray[np.int32], rows: list[int]) -> NDArray[np.intp]:
    """Flat places of some rows in neighbour lists; a few compares beat a set lookup of millions.

    >>> places_of(np.array([[0, 5], [7, 5]], np.int32), [5]).tolist()
    [1, 3]
    """
    flat = items.ravel()
    if len(rows) <= 8:
        return np.concatenate([np.flatnonzero(flat == row) for row in rows])
    return np.flatnonzero(np.isin(flat, rows))


def grown(array: NDArray[Any], rows: int, fill: int) -> NDArray[Any]:
    """Copy with room for ``rows``.

    >>> grown(np.array([[1]]), 2, 0).tolist()
    [[1], [0]]
    """
    made = np.full((max(rows, len(array)), *array.shape[1:]), fill, array.dtype)
    made[: len(array)] = array
    return made
