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
from online_models.recommenders.pair_store import PairRule, history_matrix, pair_matrix

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
        return np.stack([self._read(histories, reading) for reading in self.readings])

    def _read(self, histories: Histories, reading: LinearReading) -> Floats:
        if len(self.weights) == 0:
            return np.zeros((len(histories), self.rows), np.float32)
        if len(histories) == 1:
            newest = histories.items[-reading.last :]
            weights = (reading.decay ** np.arange(len(newest) - 1, -1, -1)).astype(np.float32)
            return weights[None] @ self.weights[newest]
        read = history_matrix(histories, self.rows, reading.last, reading.decay)
        return np.asarray(read @ self.weights, np.float32)


class EaseRecommender(LinearRecommender):
    """EASE with dense weights and a history read by recency (see :class:`online_models.counting.ease.EASE`)."""

    def __init__(self, rows: int, l2: float, refits: Refits, *readings: LinearReading) -> None:
        super().__init__(rows, refits, *readings)
        self.l2 = l2
        self.gram: Floats = np.zeros((rows, rows), np.float32)

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Solve for a whole log, the validation events with it."""
        log = joined(train, validation)
        ones = np.ones(len(log), np.float32)
        taken = sparse.csr_matrix((ones, (log.users, log.items)), shape=(log.user_count, self.rows))
        taken.data[:] = 1  # taken twice is taken
        self.gram = np.asarray((taken.T @ taken).todense(), np.float32)
        self.events = self.fitted_events = len(log)
        self.solve()

    def add(self, history: Rows, target: int) -> None:
        """Add the target and its pairs with everything taken before; an item taken before adds nothing."""
        others = np.unique(history)
        if target in others:
            return
        self.gram[others, target] += 1
        self.gram[target, others] += 1
        self.gram[target, target] += 1

    def solve(self) -> None:
        """Solve over the items that anybody has taken."""
        used = np.flatnonzero(self.gram.diagonal())
        self.weights = np.zeros((self.rows, self.rows), np.float32)
        self.weights[np.ix_(used, used)] = ease_weights(self.gram[np.ix_(used, used)], self.l2)


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

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Solve for a whole log, the validation events with it."""
        log = joined(train, validation)
        histories = before_each(log, self.rule)
        self.inputs = np.asarray((histories.T @ histories).todense(), np.float32)
        self.outputs = np.asarray(pair_matrix(log, self.rule).todense(), np.float32)
        self.events = self.fitted_events = len(log)
        self.solve()

    def add(self, history: Rows, target: int) -> None:
        """Add the outer products of the history before the event."""
        newest = history[-self.rule.window :]
        weights = (self.rule.decay ** np.arange(len(newest) - 1, -1, -1)).astype(np.float32)
        rows, places = np.unique(newest, return_inverse=True)
        state = np.bincount(places, weights, minlength=len(rows)).astype(np.float32)
        self.inputs[np.ix_(rows, rows)] += np.outer(state, state)
        self.outputs[rows, target] += state

    def solve(self) -> None:
        """Solve over the items that anybody has taken."""
        used = np.flatnonzero(self.outputs.any(axis=0) | self.outputs.any(axis=1))
        inputs = self.inputs[np.ix_(used, used)]
        np.fill_diagonal(inputs, inputs.diagonal() + np.float32(self.l2))
        outputs = np.asfortranarray(self.outputs[np.ix_(used, used)])
        _, solved, failed = lapack.sposv(np.asfortranarray(inputs), outputs, overwrite_a=True, overwrite_b=True)
        if failed:
            raise ValueError(f"l2 is {self.l2}, too small to solve for the weights; give a larger one, such as 10")
        self.weights = np.zeros((self.rows, self.rows), np.float32)
        self.weights[np.ix_(used, used)] = solved


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
    return EaseRecommender(setting.rows, 100.0, refits_for(setting.rows), LinearReading(decay=0.7))


def _ridge(setting: Setting) -> RidgeRecommender:
    return RidgeRecommender(setting.rows, 30.0, PairRule(), refits_for(setting.rows), LinearReading(decay=0.8))


def refits_for(rows: int) -> Refits:
    """Fewer refits of a large catalogue, whose solution takes the cube of its size."""
    return Refits() if rows <= 4096 else Refits(growth=0.1)


RECOMMENDERS: dict[str, Factory] = {"ease": _ease, "next-item-ridge": _ridge}
