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
        self._log: _Table | _Lists = _log(rows, user_count)
        self._item_counts = np.zeros(rows, np.int64)  # [R] users of each item
        self._counts = np.zeros(user_count, np.float32)  # [U] items of each user

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Take a whole log from nothing."""
        log = joined(train, validation)
        self._log = _log(self.rows, self.user_count)
        self._log.fill(log.users, log.items)
        self._item_counts = np.bincount(log.items, minlength=self.rows)
        self._counts = np.bincount(log.users, minlength=self.user_count).astype(np.float32)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Take events one after another."""
        for user, item in zip(events.users.tolist(), events.items.tolist(), strict=True):
            self.observe(user, item)

    def observe(self, user: int, item: int) -> None:
        """Take one event."""
        self._log.add(user, item)
        self._item_counts[item] += 1
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
        weights = similarities * similarities / np.sqrt(self._counts[users])
        return self._log.items_of(users, weights.astype(np.float32, copy=False))

    def _nearest(self, newest: Rows, user: int) -> tuple[Rows, Floats]:
        """Users with the largest similarity, themselves left out, and how large it is. [K], [K]."""
        counts = self._item_counts[newest]  # [H]
        if not counts.any():
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        recency = self.decay ** np.arange(len(newest) - 1, -1, -1)
        sums = self._log.users_of(newest, (recency / np.log(2 + counts)).astype(np.float32))  # [U]
        sums[user] = 0
        users = np.flatnonzero(sums)
        similarities = (sums[users] / np.sqrt(self._counts[users])).astype(np.float32, copy=False)
        if len(users) > self.neighbours:
            kept = np.argpartition(-similarities, self.neighbours)[: self.neighbours]
            users, similarities = users[kept], similarities[kept]
        return users, similarities


class _Table:
    """Who has taken what, as bytes: for few users and items, where the rows of a table are added faster than lists."""

    def __init__(self, rows: int, user_count: int) -> None:
        self._items = np.zeros((user_count, rows), np.uint8)  # times that each user has taken each item
        self._users = np.zeros((rows, user_count), np.uint8)  # the same by item
        self._room: Floats = np.zeros(0, np.float32)

    def fill(self, users: Rows, items: Rows) -> None:
        shape = self._items.shape
        times = np.bincount(users * shape[1] + items, minlength=shape[0] * shape[1]).reshape(shape)
        self._items = np.minimum(times, _MOST_TIMES).astype(np.uint8)
        self._users = np.ascontiguousarray(self._items.T)

    def add(self, user: int, item: int) -> None:
        if self._items[user, item] < _MOST_TIMES:
            self._items[user, item] += 1
            self._users[item, user] += 1

    def users_of(self, items: Rows, weights: Floats) -> Floats:
        return self._sum(self._users, items, weights)

    def items_of(self, users: Rows, weights: Floats) -> Floats:
        return self._sum(self._items, users, weights)

    def _sum(self, table: NDArray[np.uint8], rows: Rows, weights: Floats) -> Floats:
        """Weighed sum of rows, in room that is kept from one sum to the next."""
        size = len(rows) * table.shape[1]
        if len(self._room) < size:
            self._room = np.empty(size, np.float32)
        picked = self._room[:size].reshape(len(rows), table.shape[1])
        np.copyto(picked, table[rows])
        return weights @ picked


class _Lists:
    """Who has taken what, as a list for each user and each item: for many of them."""

    def __init__(self, rows: int, user_count: int) -> None:
        self._users = [_Growing() for _ in range(rows)]  # of each item
        self._items = [_Growing() for _ in range(user_count)]  # of each user

    def fill(self, users: Rows, items: Rows) -> None:
        self._users = [_Growing(part) for part in _grouped(items, users, len(self._users))]
        self._items = [_Growing(part) for part in _grouped(users, items, len(self._items))]

    def add(self, user: int, item: int) -> None:
        self._users[item].append(user)
        self._items[user].append(item)

    def users_of(self, items: Rows, weights: Floats) -> Floats:
        return _added([self._users[item].values for item in items.tolist()], weights, len(self._items))

    def items_of(self, users: Rows, weights: Floats) -> Floats:
        return _added([self._items[user].values for user in users.tolist()], weights, len(self._users))


def _added(lists: list[Rows], weights: Floats, size: int) -> Floats:
    """Sum of the weights of the lists that a number is in. [size]."""
    repeated = np.repeat(weights, [len(numbers) for numbers in lists])
    return np.bincount(np.concatenate(lists), repeated, minlength=size).astype(np.float32)


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


_MOST_TIMES = 255  # of one item by one user, where they are counted in bytes
_TABLE_CELLS = 2**25  # above, two tables of bytes take more than 64 MiB


def _log(rows: int, user_count: int) -> _Table | _Lists:
    return (_Table if rows * user_count <= _TABLE_CELLS else _Lists)(rows, user_count)


def _user_knn(setting: Setting) -> UserKNN:
    """Rank by what users with the same newest items took."""
    return UserKNN(setting.rows, setting.user_count)


RECOMMENDERS: dict[str, Factory] = {"user-knn": _user_knn}
