"""User-kNN: what people with the same items have taken, with neighbours found anew for every history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting
from online_models.recommenders.logs import joined

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


class UserKNN:
    """Score ``v(j) = Σ_{u in K nearest} sim(u)² / sqrt(n_u)`` over the users who took j.

    ``sim(u) = Σ_k decay^k [u took h_k] / log(2 + n_{h_k}) / sqrt(n_u)``, with k steps back in the history: what few
    people take says more.

    Parameters
    ----------
    rows, user_count
        Sizes.
    neighbours
        Users that are read.
    last, decay
        How the history is read.

    Examples
    --------
    >>> model = UserKNN(rows=6, user_count=3)
    >>> for user, item in ((0, 2), (0, 3), (1, 4)):
    ...     model.observe(user, item)
    >>> model.score(Histories.of([[2]], users=[2]))[0].nonzero()[0].tolist()
    [2, 3]
    """

    micro_batch = 1

    def __init__(
        self, rows: int, user_count: int, *, neighbours: int = 100, last: int = 30, decay: float = 0.9
    ) -> None:
        self.rows, self.user_count = rows, user_count
        self.neighbours, self.last, self.decay = neighbours, last, decay
        self._users = [_Growing() for _ in range(rows)]  # of each item
        self._items = [_Growing() for _ in range(user_count)]  # of each user
        self._counts = np.zeros(user_count, np.float32)  # [U] items of each user

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Take a whole log from nothing."""
        log = joined(train, validation)
        self._users = [_Growing(part) for part in _grouped(log.items, log.users, self.rows)]
        self._items = [_Growing(part) for part in _grouped(log.users, log.items, self.user_count)]
        self._counts = np.bincount(log.users, minlength=self.user_count).astype(np.float32)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Take events one after another."""
        for user, item in zip(events.users.tolist(), events.items.tolist(), strict=True):
            self.observe(user, item)

    def observe(self, user: int, item: int) -> None:
        """Take one event."""
        self._users[item].append(user)
        self._items[user].append(item)
        self._counts[user] += 1

    def score(self, histories: Histories) -> Floats:
        """Score all items for each history. [B, R]."""
        scores = np.zeros((len(histories), self.rows), np.float32)
        for place, user in enumerate(histories.users.tolist()):
            scores[place] = self._score(histories.items_of(place)[-self.last :], user)
        return scores

    def columns(self, histories: Histories) -> Floats:
        """Scores as the one column of a blend. [1, B, R]."""
        return self.score(histories)[None]

    def _score(self, newest: Rows, user: int) -> Floats:
        users, similarities = self._nearest(newest, user)
        if len(users) == 0:
            return np.zeros(self.rows, np.float32)
        taken = [self._items[near].values for near in users.tolist()]
        weights = similarities**2 / np.sqrt(self._counts[users])
        repeated = np.repeat(weights, [len(items) for items in taken])
        return np.bincount(np.concatenate(taken), repeated, minlength=self.rows).astype(np.float32)

    def _nearest(self, newest: Rows, user: int) -> tuple[Rows, Floats]:
        """Users with the largest similarity, themselves left out, and how large it is. [K], [K]."""
        groups = [self._users[item].values for item in newest.tolist()]
        if sum(map(len, groups)) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        steps = range(len(groups) - 1, -1, -1)
        says = [self.decay**step / np.log(2 + len(group)) for step, group in zip(steps, groups, strict=True)]
        repeated = np.repeat(says, [len(group) for group in groups])
        sums = np.bincount(np.concatenate(groups), repeated, minlength=self.user_count)
        sums[user] = 0
        users = np.flatnonzero(sums)
        similarities = (sums[users] / np.sqrt(self._counts[users])).astype(np.float32)
        if len(users) > self.neighbours:
            kept = np.argpartition(-similarities, self.neighbours)[: self.neighbours]
            users, similarities = users[kept], similarities[kept]
        return users, similarities


class _Growing:
    """Numbers in an array that doubles when full."""

    __slots__ = ("_room", "_size")

    def __init__(self, values: Rows | None = None) -> None:
        self._room = np.zeros(0, np.int64) if values is None else values
        self._size = len(self._room)

    @property
    def values(self) -> Rows:
        return self._room[: self._size]

    def append(self, value: int) -> None:
        if self._size == len(self._room):
            self._room = np.concatenate([self._room, np.zeros(max(self._size, 4), np.int64)])
        self._room[self._size] = value
        self._size += 1


def _grouped(keys: Rows, values: Rows, groups: int) -> list[Rows]:
    """Values of each key, in their order."""
    order = np.argsort(keys, kind="stable")
    bounds = np.searchsorted(keys[order], np.arange(groups + 1))
    return [values[order[start:stop]] for start, stop in zip(bounds, bounds[1:], strict=False)]


def _user_knn(setting: Setting) -> UserKNN:
    return UserKNN(setting.rows, setting.user_count)


RECOMMENDERS: dict[str, Factory] = {"user-knn": _user_knn}
