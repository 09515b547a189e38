"""The largest scores, largest first: ordered as integers, which NumPy does many times faster than as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int32]
Places = NDArray[np.int64]


def falling_keys(scores: NDArray[Any]) -> Keys:
    """Integers that fall where float32 scores rise, and are equal where these are; below -1 exactly for scores above 0.

    >>> falling_keys(np.array([-2, -0.0, 0, 3], np.float32)).argsort(kind="stable").tolist()
    [3, 1, 2, 0]
    """
    bits = (scores + np.float32(0)).view(np.int32)  # the sum takes the sign from a zero
    if bits.min(initial=0) < 0:  # bits of floats below 0 rise where these fall
        bits ^= (bits >> 31) & 0x7FFFFFFF
    keys: Keys = np.invert(bits, out=bits)
    return keys


def in_order(keys: Keys, places: NDArray[np.integer], limit: int) -> Places:
    """Sort some places [K] by their keys [N], then by themselves; the first ``limit`` of them."""
    both = keys[places].astype(np.int64) << 32 | places  # a key and a place fit into one integer
    both.sort()
    first: Places = both[:limit] & 0xFFFFFFFF
    return first


def best_first(scores: NDArray[np.float32], limit: int) -> Places:
    """Places of the ``limit`` largest scores [N], largest first; equal scores in order.

    >>> best_first(np.array([1, 3, -2, 3], np.float32), 3).tolist()
    [1, 3, 0]
    """
    keys = falling_keys(scores)
    if not 0 < limit < len(keys):
        return in_order(keys, np.arange(len(keys)), limit)
    least = np.partition(keys, limit - 1)[limit - 1]
    return in_order(keys, np.flatnonzero(keys <= least), limit)  # all that tie with the last: their order decides
