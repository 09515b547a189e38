"""Histories of one batch put together by their lengths, so that little padding is encoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_WORTH = 512  # places saved: below that another pass through the encoder costs more than it saves


def history_lengths(histories: NDArray[np.integer]) -> Rows:
    """Places from the oldest event of each right-aligned history to its end. [B, L] -> [B].

    >>> history_lengths(np.array([[0, 5, 0, 6], [0, 0, 0, 0]])).tolist()
    [3, 0]
    """
    filled = histories != 0
    lengths: Rows = np.where(filled.any(1), histories.shape[1] - filled.argmax(1), 0)
    return lengths


def length_groups(lengths: Rows, worth: int = _WORTH) -> list[tuple[Rows, int]]:
    """Split examples so that each part can be cut to its own longest history.

    Parameters
    ----------
    lengths
        [B] of the histories.
    worth
        A part is split off where it saves at least so many places.

    Returns
    -------
    list
        Examples of each part, and the length to which their histories can be cut, at least 1.

    Examples
    --------
    >>> [(rows.tolist(), length) for rows, length in length_groups(np.array([30, 1, 2, 30, 0]), worth=50)]
    [([0, 3], 30), ([4, 1, 2], 2)]
    >>> [(rows.tolist(), length) for rows, length in length_groups(np.array([3, 1, 2]))]
    [([0, 1, 2], 3)]
    """
    order = np.argsort(lengths, kind="stable")
    rising = lengths[order]
    edges = [2**power - 1 for power in range(int(rising[-1]).bit_length() - 1, 0, -1)]  # …, 15, 7, 3, 1
    groups, end = [], len(order)
    for edge in edges:
        cut = int(np.searchsorted(rising, edge, side="right"))
        if 0 < cut < end and cut * (int(rising[end - 1]) - edge) >= worth:
            groups.append((order[cut:end], max(int(rising[end - 1]), 1)))
            end = cut
    rest = order[:end] if groups else np.arange(end)
    return [*groups, (rest, max(int(rising[end - 1]), 1))]
