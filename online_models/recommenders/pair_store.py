"""Exact pair counts for evaluation: no bound on partners, vectorised over a whole log, one event at a time on a stream.

The counting learners keep each item's 256 strongest partners, as serving must. Here every pair counts, so a figure
does not depend on the bound, and a log of 200,000 events is counted in a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from online_models.counting.pairs import newest_distinct
from online_models.evaluation.interactions import Histories, Interactions

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PairRule:
    """Which pairs an event adds: ``decay^k`` from the item k steps back to it, ``backward · decay^k`` the other way."""

    window: int = 20
    decay: float = 0.8
    backward: float = 0.0
    itself: bool = False  # whether an item that comes again follows itself: where taken items may be shown


@dataclass(frozen=True, kw_only=True)
class PairReading:
    """How pairs become scores: ``v(j) = (n_j + s)^-β Σ_k decay^k (n_{h_k} + s)^-α c(h_k → j)``."""

    last: int = 10
    decay: float = 0.8
    source_power: float = 0.5  # α
    target_power: float = 0.0  # β
    smoothing: float = 1.0  # s


class PairStore:
    """Pair counts ``c(i → j)`` by a rule, and events on each item ``n``.

    >>> store = PairStore(rows=6, rule=PairRule(window=2, decay=0.5))
    >>> store.observe(np.array([2, 3]), 4)
    >>> store.sum(np.array([2, 3]), np.array([1., 1.], np.float32)).tolist()
    [0.0, 0.0, 0.0, 0.0, 1.5, 0.0]
    """

    def __init__(self, rows: int, rule: PairRule) -> None:
        self.rows = rows
        self.rule = rule
        self.item_counts = np.zeros(rows, np.float32)  # [R]
        self._table: _Dense | _Growing | _Base = _table(rows)
        self._amounts = (rule.decay ** np.arange(rule.window)).astype(np.float32)  # by steps back
        self._recency: dict[tuple[PairReading, ...], Floats] = {}
        self._powered: dict[tuple[float, float], Floats] = {}

    def fit(self, log: Interactions) -> None:
        """Count a whole log from nothing, in which a user's events come in order."""
        self.item_counts = np.bincount(log.items, minlength=self.rows).astype(np.float32)
        self._table = _Base(self.rows, pair_matrix(log, self.rule))
        self._powered = {}

    def observe(self, history: Rows, target: int) -> None:
        """Count one event: ``target`` [ ] was taken after ``history`` [L], newest last."""
        if isinstance(self._table, _Base):
            self._table = self._table.growing()
        self._count(target)
        before, steps = self._before(history, target)
        if len(before):
            amounts = self._amounts[steps]
            self._table.add(before, target, amounts)
            if self.rule.backward:
                self._table.add_backward(target, before, amounts * np.float32(self.rule.backward))

    def _before(self, history: Rows, target: int) -> tuple[Rows, Rows]:
        """Items that an event is paired with, newest first, and how many steps back each lies."""
        newest = history[-self.rule.window :][::-1]
        if self.rule.itself or _all_others(newest, target):
            return newest, np.arange(len(newest))
        return newest_distinct(history, self.rule.window, target)

    def sum(self, rows: Rows, weights: Floats) -> Floats:
        """Sum of weighed rows of c: [H], [H] -> [R]; or [H], [S, H] -> [S, R]."""
        return self._table.sum(rows, weights)

    def score(self, histories: Histories, reading: PairReading) -> Floats:
        """Score all items for each history. [B, R]."""
        scores: Floats = self.columns(histories, (reading,))[0]
        return scores

    def columns(self, histories: Histories, readings: Sequence[PairReading]) -> Floats:
        """Score all items for each history in several ways. [S, B, R]."""
        if len(histories) == 1:
            columns = self._columns_of_one(histories.items, tuple(readings))[:, None]  # [S, 1, R]
        else:
            matrix = self.matrix()
            read = [np.asarray((self._read(histories, r) @ matrix).todense(), np.float32) for r in readings]
            columns = np.stack(read)
        for column, reading in zip(columns, readings, strict=True):
            if reading.target_power:
                column *= self._powers(reading.smoothing, -reading.target_power)
        return columns

    def matrix(self) -> sparse.csr_matrix:
        """Give the counts as one matrix. [R, R]."""
        return self._table.matrix()

    def _columns_of_one(self, history: Rows, readings: tuple[PairReading, ...]) -> Floats:
        """Read one history in every way at once: the rows of its items are fetched a single time. [L] -> [S, R]."""
        if readings not in self._recency:
            self._recency[readings] = recency([(reading.last, reading.decay) for reading in readings])
        says = self._recency[readings]  # [S, last]
        newest = history[-says.shape[1] :]
        scales = [self._powers(reading.smoothing, -reading.source_power)[newest] for reading in readings]
        return self.sum(newest, says[:, says.shape[1] - len(newest) :] * np.stack(scales))

    def _powers(self, smoothing: float, power: float) -> Floats:
        """``(n + smoothing) ** power`` of every item, computed once and then kept up to date. [R]."""
        key = smoothing, power
        if key not in self._powered:
            self._powered[key] = (self.item_counts + smoothing) ** power
        return self._powered[key]

    def _count(self, target: int) -> None:
        self.item_counts[target] += 1
        for (smoothing, power), values in self._powered.items():
            values[target] = (self.item_counts[target] + smoothing) ** power

    def _read(self, histories: Histories, reading: PairReading) -> sparse.csr_matrix:
        read = history_matrix(histories, self.rows, reading.last, reading.decay)  # [B, R]
        read.data *= self._powers(reading.smoothing, -reading.source_power)[read.indices]
        return read


def _all_others(newest: Rows, target: int) -> bool:
    """Whether these are known items, all different, and none the target."""
    distinct = set(newest.tolist())
    return len(distinct) == len(newest) and distinct.isdisjoint((0, 1, target))


def recency(readings: Sequence[tuple[int, float]]) -> Floats:
    """Weights of the newest items by (last, decay), the newest in the last column, 0 beyond ``last``. [S, longest].

    >>> recency([(3, 0.5), (1, 0.5)]).tolist()
    [[0.25, 0.5, 1.0], [0.0, 0.0, 1.0]]
    """
    steps = np.arange(max(last for last, _ in readings))[::-1]  # 0 is the newest
    return np.stack([np.where(steps < last, decay**steps, 0) for last, decay in readings]).astype(np.float32)


def pair_matrix(log: Interactions, rule: PairRule) -> sparse.csr_matrix:
    """Pairs of a whole log by a rule. [R, R]."""
    items = log.items[np.argsort(log.users, kind="stable")]
    users = np.sort(log.users, kind="stable")
    total = sparse.csr_matrix((log.rows, log.rows), dtype=np.float32)
    for lag in range(1, rule.window + 1):
        pairs = users[lag:] == users[:-lag]
        if not rule.itself:
            pairs &= items[lag:] != items[:-lag]
        if not pairs.any():
            break
        amounts = np.full(int(pairs.sum()), rule.decay ** (lag - 1), np.float32)
        places = (items[:-lag][pairs], items[lag:][pairs])
        total = total + sparse.csr_matrix((amounts, places), shape=total.shape)
    if rule.backward:
        total = total + np.float32(rule.backward) * total.T
    return total.tocsr()


def history_matrix(histories: Histories, rows: int, last: int, decay: float) -> sparse.csr_matrix:
    """Newest ``last`` items of each history, each step back weighed by ``decay``. [B, R]."""
    places = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.items)) - 1  # 0 is newest
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    near = places < last
    weights = (float(decay) ** places[near]).astype(np.float32)
    return sparse.csr_matrix((weights, (users[near], histories.items[near])), shape=(len(histories), rows))


DENSE_ROWS = 4096  # below, a dense matrix takes 64 MiB at most and is faster


def _table(rows: int) -> _Dense | _Growing:
    return _Dense(np.zeros((rows, rows), np.float32)) if rows <= DENSE_ROWS else _Growing(rows)


class _Dense:
    """Counts in one array."""

    def __init__(self, counts: Floats) -> None:
        self.counts = counts

    def add(self, rows: Rows, target: int, amounts: Floats) -> None:
        np.add.at(self.counts[:, target], rows, amounts)  # a row may be there twice

    def add_backward(self, row: int, partners: Rows, amounts: Floats) -> None:
        np.add.at(self.counts[row], partners, amounts)

    def sum(self, rows: Rows, weights: Floats) -> Floats:
        return weights @ self.counts[rows]

    def matrix(self) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.counts)


class _Growing:
    """Counts of each row in arrays that double when full."""

    def __init__(self, rows: int) -> None:
        self.places: list[dict[int, int]] = [{} for _ in range(rows)]  # of a row: partner -> place
        self.partners = [np.zeros(0, np.int64)] * rows
        self.counts = [np.zeros(0, np.float32)] * rows

    def add(self, rows: Rows, target: int, amounts: Floats) -> None:
        for row, amount in zip(rows.tolist(), amounts.tolist(), strict=True):
            self._add_one(row, target, amount)

    def add_backward(self, row: int, partners: Rows, amounts: Floats) -> None:
        for partner, amount in zip(partners.tolist(), amounts.tolist(), strict=True):
            self._add_one(row, partner, amount)

    def _add_one(self, row: int, partner: int, amount: float) -> None:
        places = self.places[row]
        place = places.setdefault(partner, len(places))
        if place >= len(self.counts[row]):
            more = max(place, 4)
            self.partners[row] = np.concatenate([self.partners[row], np.zeros(more, np.int64)])
            self.counts[row] = np.concatenate([self.counts[row], np.zeros(more, np.float32)])
        self.partners[row][place] = partner
        self.counts[row][place] += amount

    def sum(self, rows: Rows, weights: Floats) -> Floats:
        total = len(self.places)
        if weights.ndim == 2 and len(weights) == 1:
            return self.sum(rows, weights[0])[None]
        if len(rows) == 0:
            return np.zeros((*weights.shape[:-1], total), np.float32)
        listed = rows.tolist()
        partners = np.concatenate([self.partners[row] for row in listed])
        counts = np.concatenate([self.counts[row] for row in listed])
        lengths = [len(self.counts[row]) for row in listed]
        sums = [  # free places add 0 to row 0
            np.bincount(partners, counts * np.repeat(says, lengths), minlength=total) for says in np.atleast_2d(weights)
        ]
        return np.array(sums, np.float32).reshape(*weights.shape[:-1], total)

    def matrix(self) -> sparse.csr_matrix:
        lengths = [len(places) for places in self.places]
        partners = np.concatenate([p[:n] for p, n in zip(self.partners, lengths, strict=True)])
        counts = np.concatenate([c[:n] for c, n in zip(self.counts, lengths, strict=True)])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return sparse.csr_matrix((counts, partners, offsets), shape=(len(lengths), len(lengths)))


class _Base:
    """Counts of a whole log, as one sparse matrix."""

    def __init__(self, rows: int, counts: sparse.csr_matrix) -> None:
        self.rows = rows
        self.counts = counts

    def add(self, rows: Rows, target: int, amounts: Floats) -> None:
        raise TypeError("a fitted matrix takes no events; make it growing() first")

    add_backward = add

    def sum(self, rows: Rows, weights: Floats) -> Floats:
        says = np.atleast_2d(weights)  # [S, H]
        places = np.repeat(np.arange(len(says)), len(rows)), np.tile(rows, len(says))
        read = sparse.csr_matrix((says.ravel(), places), shape=(len(says), self.rows))
        sums: Floats = (read @ self.counts).toarray().reshape(*weights.shape[:-1], self.rows)
        return sums

    def matrix(self) -> sparse.csr_matrix:
        return self.counts

    def growing(self) -> _Dense | _Growing:
        if self.rows <= DENSE_ROWS:
            return _Dense(np.asarray(self.counts.todense(), np.float32))
        table = _Growing(self.rows)
        for row in range(self.rows):
            part = slice(self.counts.indptr[row], self.counts.indptr[row + 1])
            table.partners[row] = self.counts.indices[part].astype(np.int64)
            table.counts[row] = self.counts.data[part].copy()
            table.places[row] = {partner: place for place, partner in enumerate(table.partners[row].tolist())}
        return table
