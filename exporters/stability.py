"""Lists that do not flicker: an item keeps its place until another one is clearly better.

Rankings that follow every event change under the eyes of whoever reads them. Within a session the list shown last is
therefore the starting point of the next: an item moves before another only where its score is higher by a margin. How
much successive lists still differ is measured by their rank-biased overlap.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.metrics import rank_biased_overlap

Order = NDArray[np.intp]


def steadied(scores: NDArray[np.floating], previous: Sequence[int], count: int, margin: float) -> Order:
    """Order candidates by score, but leave what was shown in its place unless it is beaten by the margin.

    The items shown before, in their order, and then the others by score are put into the list one by one, each before
    the first item that it beats by more than ``margin``. So no item stands above one that beats it by more than the
    margin, and with a margin of 0 the list is the plain ranking.

    Parameters
    ----------
    scores
        [N] of the candidates, larger is better.
    previous
        Places in ``scores`` of the items shown last, in the order of that list; those that are candidates no more are
        left out by the caller.
    count
        Length of the list.
    margin
        In units of the scores; for logits 0.1 is "10 % likelier".

    Returns
    -------
    numpy.ndarray
        [K] places in ``scores``.

    Raises
    ------
    ValueError
        The margin is negative.

    References
    ----------
    "Augmenting Netflix Search with In-Session Adapted Recommendations" (2206.02254) names lists that change too much
    as a finding; the rule is ours.

    Examples
    --------
    >>> scores = np.array([1.00, 1.04, 1.20])
    >>> steadied(scores, previous=[0, 1], count=2, margin=0.1).tolist()
    [2, 0]
    >>> steadied(scores, previous=[0, 1], count=2, margin=0.5).tolist()
    [0, 1]
    >>> steadied(scores, previous=[0, 1], count=2, margin=0.0).tolist()
    [2, 1]
    """
    if margin < 0:
        raise ValueError(f"the margin of stable lists is {margin}; give 0 (plain ranking) or more, such as 0.05")
    best = np.argsort(-scores, kind="stable")[: count + len(previous)].tolist()
    held, needed = scores.tolist(), (scores + margin).tolist()
    placed: list[int] = []
    for number, place in enumerate(dict.fromkeys([*previous, *best])):
        beaten = next((k for k, other in enumerate(placed) if held[place] > needed[other]), None)
        if beaten is None and number >= max(count, len(previous)):
            break  # nobody who comes after it has a higher score
        placed.insert(len(placed) if beaten is None else beaten, place)
    return np.array(placed[:count], np.intp)


class ShownLists:
    """The list last shown to each user on each surface, with the session that it belongs to.

    Parameters
    ----------
    users
        Lists kept; the longest unheard-of make room.

    Examples
    --------
    >>> shown = ShownLists()
    >>> shown.put("u", "home", "s1", ("a", "b"))
    >>> shown.get("u", "home", "s1"), shown.get("u", "home", "s2")
    (('a', 'b'), ())
    """

    def __init__(self, users: int = 10_000) -> None:
        self._users = users
        self._lists: OrderedDict[tuple[str, str], tuple[str | None, tuple[str, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, user_id: str, surface: str, session_id: str | None) -> tuple[str, ...]:
        """Return the list last shown in this session, empty where there is none."""
        held, item_ids = self._lists.get((user_id, surface), (None, ()))
        return item_ids if held == session_id else ()

    def put(self, user_id: str, surface: str, session_id: str | None, item_ids: tuple[str, ...]) -> float | None:
        """Keep a list that was shown; returns its overlap with the one shown before it in this session.

        >>> shown = ShownLists()
        >>> [shown.put("u", "home", "s", ids) for ids in ("ab", "ab", "cd")]
        [None, 1.0, 0.0]
        """
        before = self.get(user_id, surface, session_id)
        with self._lock:
            self._lists[user_id, surface] = session_id, item_ids
            self._lists.move_to_end((user_id, surface))
            while len(self._lists) > self._users:
                self._lists.popitem(last=False)
        return rank_biased_overlap(before, item_ids) if before else None
