"""EASE and the next-item ridge: linear models over items in closed form, fitted on a log or refitted on a stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from online_models.counting.ease import ease_weights
from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting
from online_models.recommenders.logs import joined
from online_models.recommenders.pair_store import PairRule, history_matrix, pair_matrix, recency

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LinearReading:
    """How item weights become scores: ``v(j) = Σ_k decay^k B[h_k, j]`` over the newest ``last`` items."""

    last: int = 50
    decay: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Refits:
    """When the weights are solved for anew: after ``events``, and after the log has grown by ``growth``."""

    events: int = 500
    growth: float = 0.02

    def due(self, since: int, total: int) -> bool:
        """Whether ``since`` events after the last refit, with ``total`` in all, it is time."""
        return since >= max(self.events, self.growth * total)


class LinearRecommender:
    """What the two share: weights B [R, R], how they are read, and when they are solved for."""

    micro_batch = 1

    def __init__(self, rows: int, refits: Refits, *readings: LinearReading) -> None:
        self.rows = rows
        self.refits = refits
        self.readings = readings
        self.weights: Floats = np.zeros((0, 0), np.float32)  # [R, R] once solved
        self.events, self.fitted_events = 0, 0
        self._recency = recency([(reading.last, reading.decay) for reading in readings])  # [S, last]

    def add(self, history: Rows, target: int) -> None:
        """Take one event into the sums."""
        raise NotImplementedError

    def solve(self) -> None:
        """Compute the weights from the sums."""
        raise NotImplementedError

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Take events into the sums one after another; refit when it is time."""
        for place, target in enumerate(events.items.tolist()):
            self.add(histories.items_of(place), target)
            self.events += 1
            if self.refits.due(self.events - self.fitted_events, self.events):
                self.solve()
                self.fitted_events = self.events

    def score(self, histories: Histories) -> Floats:
        """Scores by the first reading. [B, R]."""
        return self._read(histories, self.readings[0])

    def columns(self, histories: Histories) -> Floats:
        """Scores by every reading. [S, B, R]."""
        if len(histories) == 1 and len(self.weights):
            return self._read_one(histories.items)[:, None]
        return np.stack([self._read(histories, reading) for reading in self.readings])

    def _read(self, histories: Histories, reading: LinearReading) -> Floats:
        if len(self.weights) == 0:
            return np.zeros((len(histories), self.rows), np.float32)
        read = history_matrix(histories, self.rows, reading.last, reading.decay)
        return np.asarray(read @ self.weights, np.float32)

    def _read_one(self, history: Rows) -> Floats:
        """Read one history in every way at once: the rows of its items are fetched a single time. [L] -> [S, R]."""
        newest = history[-self._recency.shape[1] :]
        says = self._recency[:, self._recency.shape[1] - len(newest) :]  # [S, L]
        return says @ self.weights[newest]


class EaseRecommender(LinearRecommender):
    """EASE with dense weights and a history read by recency (see :class:`online_models.counting.ease.EASE`)."""

    def __init__(self, rows: int, l2: float, refits: Refits, *readings: LinearReading) -> None:
        super().__init__(rows, refits, *readings)
        self.l2 = l2
        self._half: Floats = np.zeros((rows, rows), np.float32)  # each pair once, in the row of what came last

    @property
    def gram(self) -> Floats:
        """How many users have taken both of two items. [R, R]."""
        return _mirrored(self._half)

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Solve for a whole log, the validation events with it."""
        log = joined(train, validation)
        ones = np.ones(len(log), np.float32)
        taken = sparse.csr_matrix((ones, (log.users, log.items)), shape=(log.user_count, self.rows))
        taken.data[:] = 1  # taken twice is taken
        self._half = np.tril(np.asarray((taken.T @ taken).todense(), np.float32))
        self.events = self.fitted_events = len(log)
        self.solve()

    def add(self, history: Rows, target: int) -> None:
        """Add the target and its pairs with everything taken before; an item taken before adds nothing."""
        if (history == target).any():
            return
        row = self._half[target]
        row[history] += 1  # an item that is there twice still adds one
        row[target] += 1

    def solve(self) -> None:
        """Solve over the items that anybody has taken."""
        used = np.flatnonzero(self._half.diagonal())
        self.weights = np.zeros((self.rows, self.rows), np.float32)
        self.weights[np.ix_(used, used)] = ease_weights(_mirrored(self._half[np.ix_(used, used)]), self.l2)


class RidgeRecommender(LinearRecommender):
    """Next-item ridge: the linear map from a decayed history to the next item, ``B = (SᵀS + λI)⁻¹ SᵀT`` [1]_.

    S holds the history before each event, its newest ``window`` items weighed by ``decay^k``; T the event's item.
    SᵀT is directional co-occurrence with decay, and the inverse takes out what items say together.

    References
    ----------
    .. [1] M. Choi et al., "Session-aware Linear Item-Item Models for Session-based Recommendation" (SLIT), WWW 2021.
       What differs: one next item instead of all that follow, no row normalisation, sums kept up to date on a stream.
    """

    def __init__(self, rows: int, l2: float, rule: PairRule, refits: Refits, *readings: LinearReading) -> None:
        super().__init__(rows, refits, *readings)
        self.l2 = l2
        self.rule = rule
        self.inputs: Floats = np.zeros((rows, rows), np.float32)  # SᵀS
        self.outputs: Floats = np.zeros((rows, rows), np.float32)  # SᵀT
        self._waiting: list[tuple[Rows, int]] = []  # newest items before an event, and its item

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Solve for a whole log, the validation events with it."""
        log = joined(train, validation)
        histories = before_each(log, self.rule)
        self.inputs = np.asarray((histories.T @ histories).todense(), np.float32)
        self.outputs = np.asarray(pair_matrix(log, self.rule).todense(), np.float32)
        self._waiting = []
        self.events = self.fitted_events = len(log)
        self.solve()

    def add(self, history: Rows, target: int) -> None:
        """Keep the event; the sums are brought up to date many events at a time."""
        self._waiting.append((history[-self.rule.window :].copy(), target))
        if len(self._waiting) >= _MOST_WAITING:
            self._settle()

    def _settle(self) -> None:
        """Add the histories before the waiting events, and what followed each."""
        if not self._waiting:
            return
        newest, targets = zip(*self._waiting, strict=True)
        self._waiting = []
        lengths = np.array([len(items) for items in newest])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        back = np.repeat(offsets[1:], lengths) - np.arange(offsets[-1]) - 1  # 0 is the newest
        weights = (self.rule.decay**back).astype(np.float32)
        shape = (len(targets), self.rows)
        states = sparse.csr_matrix((weights, np.concatenate(newest), offsets), shape=shape)
        ones, events = np.ones(len(targets), np.float32), np.arange(len(targets) + 1)
        following = sparse.csr_matrix((ones, np.array(targets), events), shape=shape)
        self.inputs += (states.T @ states).toarray()
        self.outputs += (states.T @ following).toarray()

    def solve(self) -> None:
        """Solve over the items that anybody has taken."""
        self._settle()
        used = np.flatnonzero(self.outputs.any(axis=0) | self.outputs.any(axis=1))
        inputs = self.inputs[np.ix_(used, used)]
        np.fill_diagonal(inputs, inputs.diagonal() + np.float32(self.l2))
        outputs = np.asfortranarray(self.outputs[np.ix_(used, used)])
        # symmetric: its transpose has the order of columns that LAPACK works in, without a copy
        _, solved, failed = lapack.sposv(inputs.T, outputs, overwrite_a=True, overwrite_b=True)
        if failed:
            raise ValueError(f"l2 is {self.l2}, too small to solve for the weights; give a larger one, such as 10")
        self.weights = np.zeros((self.rows, self.rows), np.float32)
        self.weights[np.ix_(used, used)] = solved


_MOST_WAITING = 8_192  # events whose pairs are not in the sums yet


def _mirrored(half: Floats) -> Floats:
    """Symmetric matrix of pairs that each stand on one side of the diagonal or in part on both. [R, R]."""
    whole = half + half.T
    np.fill_diagonal(whole, half.diagonal())
    return whole


def before_each(log: Interactions, rule: PairRule) -> sparse.csr_matrix:
    """Decayed history before each event of a log. [E, R]."""
    order = np.argsort(log.users, kind="stable")
    users, items = log.users[order], log.items[order]
    rows, columns, weights = [], [], []
    for lag in range(1, rule.window + 1):
        same = np.flatnonzero(users[lag:] == users[:-lag])
        rows.append(same + lag)
        columns.append(items[same])
        weights.append(np.full(len(same), rule.decay ** (lag - 1), np.float32))
    places = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix((np.concatenate(weights), places), shape=(len(log), log.rows))


def _ease(setting: Setting) -> EaseRecommender:
    """EASE: item weights in closed form, histories read by recency."""
    return EaseRecommender(setting.rows, 100.0, refits_for(setting.rows), LinearReading(decay=0.7))


def _ridge(setting: Setting) -> RidgeRecommender:
    """Ridge regression of the next item on the decayed history, in closed form."""
    return RidgeRecommender(setting.rows, 30.0, PairRule(), refits_for(setting.rows), LinearReading(decay=0.8))


def refits_for(rows: int) -> Refits:
    """Fewer refits of a large catalogue, whose solution takes the cube of its size."""
    return Refits() if rows <= 4096 else Refits(growth=0.1)


RECOMMENDERS: dict[str, Factory] = {"ease": _ease, "next-item-ridge": _ridge}
