"""Ranks and lists in the full catalogue, many contexts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Rows

MISS = 2**62  # rank of a target that the filter took out of the list
FIRST_ITEM = 2  # rows 0 and 1 are padding and unknown


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Items that each of B users has taken before, every item once, as (place in the batch, row) pairs."""

    places: Rows  # [T]
    items: Rows  # [T]

    @classmethod
    def nothing(cls) -> Seen:
        """Filter nothing out."""
        none = np.zeros(0, np.int64)
        return cls(places=none, items=none)


def catalogue_ranks(scores: NDArray[Any], targets: Rows, seen: Seen) -> Rows:
    """Rank of each target among all items that its user has not seen, from 1; whatever ties stands before it.

    A target that was seen itself has rank :data:`MISS`. A score of NaN stands before the target, and a target whose own
    score is NaN comes last.

    Parameters
    ----------
    scores
        [B, R] larger is better; columns 0 and 1 are ignored.
    targets
        [B] catalogue rows.
    seen
        What is left out of the lists.

    Examples
    --------
    >>> scores = np.array([[9., 9., .5, .7, .7, .1]])
    >>> none, first = Seen.nothing(), Seen(places=np.array([0]), items=np.array([3]))
    >>> [catalogue_ranks(scores, np.array([4]), seen).tolist() for seen in (none, first)]
    [[2], [1]]
    """
    if len(targets) == 1:
        return np.array([_rank_of_one(scores[0], int(targets[0]), seen.items)])
    items = scores[:, FIRST_ITEM:]  # [B, R - 2]
    below = items < scores[np.arange(len(targets)), targets][:, None]  # "not below" counts ties and NaN against it
    ranks: Rows = items.shape[1] - np.count_nonzero(below, axis=1)  # [B]
    if len(seen.items):
        ahead = ~below[seen.places, seen.items - FIRST_ITEM]  # [T]
        ranks -= np.bincount(seen.places[ahead], minlength=len(targets))
        ranks[seen.places[seen.items == targets[seen.places]]] = MISS
    return ranks


def _rank_of_one(scores: NDArray[Any], target: int, seen: Rows) -> int:
    """Do the same with the fewest calls: micro-batches of one event are what counting learners take."""
    if np.count_nonzero(seen == target):
        return MISS
    below = scores[FIRST_ITEM:] < scores[target]  # [R - 2]
    unseen = len(below) - len(seen)
    return unseen - int(np.count_nonzero(below)) + int(np.count_nonzero(below[seen - FIRST_ITEM]))


def top_lists(scores: NDArray[Any], seen: Seen, length: int = 10) -> Rows:
    """Rows of the best unseen items, best first, 0 where there are not so many. [B, length]."""
    allowed = np.nan_to_num(scores.astype(np.float32), nan=-np.inf, posinf=np.inf, neginf=-np.inf)  # [B, R], a copy
    allowed[:, :FIRST_ITEM] = -np.inf
    allowed[seen.places, seen.items] = -np.inf
    width = min(length, allowed.shape[1])
    best = np.argpartition(-allowed, width - 1, axis=1)[:, :width]  # [B, width]
    values = np.take_along_axis(allowed, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    lists = np.zeros((len(scores), length), np.int64)
    lists[:, :width] = np.where(
        np.isfinite(np.take_along_axis(values, order, axis=1)), np.take_along_axis(best, order, axis=1), 0
    )
    return lists
