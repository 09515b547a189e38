"""Arrays of the served tables: neighbour lists as they are shown, growth, and where some rows are named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.neighbours import NeighbourTable


class ShownNeighbours:
    """The neighbour lists of a table as they are shown now; a lookup waits for rows that are being written.

    Parameters
    ----------
    shown
        The table at this moment: another one may take its place.
    lock
        Held by who writes.
    """

    def __init__(self, shown: Callable[[], NeighbourTable], lock: threading.RLock) -> None:
        self._shown, self._lock = shown, lock

    @property
    def items(self) -> NDArray[np.int32]:
        """Neighbours of all rows, [R, M]; 0 pads."""
        return self._shown().items

    @property
    def weights(self) -> NDArray[np.float32]:
        """Weights of all neighbours, [R, M]."""
        return self._shown().weights

    def lookup(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours and weights of rows [H] -> [H, M], [H, M]; rows past the end have none."""
        with self._lock:
            return self._shown().lookup(rows)


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
    shape = (max(rows, len(array)), *array.shape[1:])
    made = np.full(shape, fill, array.dtype) if fill else np.zeros(shape, array.dtype)  # zeros take no time
    made[: len(array)] = array
    return made
