"""Candidate sources: every source scores items from a history by neighbour lists, and their union is ranked.

A source reads the newest ``last`` items of a history, weighs them by ``decay ** steps_back`` and sums the neighbour
lists: ``v(j) = Σ_k decay^k · w(h_k → j)``. A server reads its mirror of the published rows
here; a trainer reads its counts by the batch in :mod:`online_models.source_lists`, to the same candidates and scores.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.best_first import falling_keys, in_order
from online_models.distinct import distinct, numbered, without
from online_models.neighbours import Neighbours

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a source reads a history: its newest ``last`` items in ``table``, each step back weighed by ``decay``."""

    table: str
    last: int
    decay: float = 1.0


# One column each, in this order. A table read over a few steps, ten and thirty gives a short, a middle and a long
# memory of the same counts. Chosen on the first fifth of ml-100k. `popularity` has one list for everybody: row 0.
READINGS: dict[str, Reading] = {
    "item_knn": Reading(table="item_knn", last=10, decay=0.9),
    "item_knn_short": Reading(table="item_knn", last=3, decay=0.7),
    "item_knn_long": Reading(table="item_knn", last=30),
    "cooccurrence": Reading(table="cooccurrence", last=10, decay=0.8),
    "cooccurrence_short": Reading(table="cooccurrence", last=2, decay=0.7),
    "cooccurrence_long": Reading(table="cooccurrence", last=30, decay=0.97),
    "transitions": Reading(table="transitions", last=1),
    "popularity": Reading(table="popularity", last=0),
}
TABLES: tuple[str, ...] = tuple(dict.fromkeys(reading.table for reading in READINGS.values()))


class CandidateSources:
    """The sources in the order of :data:`READINGS`, so that a column of ``[N, S]`` always means the same.

    Parameters
    ----------
    tables
        Neighbour lists by table; readings whose table is not there are left out.

    Examples
    --------
    >>> from online_models.neighbours import NeighbourTable
    >>> knn = NeighbourTable(rows=5, width=2)
    >>> knn.put(4, np.array([2, 3]), np.array([.5, .25]))
    >>> sources = CandidateSources({"transitions": knn})
    >>> rows, scores = sources.gather(np.array([3, 4]), limit=10)
    >>> rows.tolist(), scores[:, 0].tolist()
    ([2, 3], [0.5, 0.25])
    """

    def __init__(self, tables: Mapping[str, Neighbours]) -> None:
        self.tables = dict(tables)
        self.names = tuple(name for name, reading in READINGS.items() if reading.table in self.tables)

    def read(self, history_rows: Rows) -> SourceScores:
        """Score everything that the sources know of a history; ask the result for candidates and for columns."""
        known = history_rows[history_rows > 1]
        looked_up = {table: self._look_up(table, known) for table in self.tables}
        named = [items.ravel() for items, _ in looked_up.values()]
        rows, numbers = numbered(np.concatenate(named, dtype=np.int64)) if named else (_NONE, _NONE)  # [U], [K]
        ends = np.cumsum([len(items) for items in named])[:-1]
        places = dict(zip(looked_up, np.split(numbers, ends), strict=False))
        columns = np.zeros((len(self.names), len(rows)), np.float32)
        for column, name in zip(columns, self.names, strict=True):
            table = READINGS[name].table
            weights = looked_up[table][1]
            column[:] = _sums(READINGS[name], places[table].reshape(weights.shape), weights, len(rows))
        first = int(np.searchsorted(rows, 2))  # padding and the unknown item are nobody's neighbours
        return SourceScores(rows[first:], columns[:, first:])

    def gather(
        self,
        history_rows: Rows,
        limit: int,
        exclude: Collection[int] | Rows = (),
        extra: Rows | None = None,
    ) -> tuple[Rows, Scores]:
        """Find the best candidates of every source, and ``extra`` rows from elsewhere.

        Parameters
        ----------
        history_rows
            [H] catalogue rows, newest last; padding and unknown items are ignored.
        limit
            At most so many candidates; each source gets an equal share of places, best first.
        exclude
            Rows that must not come back (seen, withdrawn).
        extra
            [E] rows to be scored too (ANN neighbours, new items), best first; they share the places.

        Returns
        -------
        tuple
            rows [N] without repeats, and scores [N, S], 0 where a source does not know the item.
        """
        read = self.read(history_rows)
        rows = read.best(limit, exclude, extra)
        return rows, read.of(rows)

    def score(self, history_rows: Rows, rows: Rows) -> Scores:
        """Score given rows [N] by every source -> [N, S]."""
        return self.read(history_rows).of(rows)

    def _look_up(self, table: str, history: Rows) -> tuple[NDArray[np.int32], Scores]:
        """Neighbours of the newest items that any reading of the table wants, once for all of them."""
        last = max(reading.last for reading in READINGS.values() if reading.table == table)
        return self.tables[table].lookup(history[-last:] if last else np.zeros(1, np.int64))


def _sums(reading: Reading, places: Rows, weights: Scores, count: int) -> NDArray[Any]:
    """Sum neighbour weights [H, M] over the history -> one score for each of ``count`` rows. [U]."""
    places, weights = places[-reading.last :], weights[-reading.last :]  # all of them where last is 0
    weighted = weights * _decays(reading.decay, len(places))
    return np.bincount(places.ravel(), weighted.ravel(), minlength=count)


@cache
def _decays(decay: float, steps: int) -> Scores:
    """Weights of the newest ``steps`` items, oldest first. [H, 1]."""
    weights: Scores = (decay ** np.arange(steps - 1, -1, -1)).astype(np.float32)[:, None]
    weights.flags.writeable = False
    return weights


class SourceScores:
    """What every source says of one history.

    Parameters
    ----------
    rows
        [U] catalogue rows that any source knows, in order.
    columns
        [S, U] their scores.
    """

    def __init__(self, rows: Rows, columns: Scores) -> None:
        self._rows, self._columns = rows, columns

    def best(self, limit: int, exclude: Collection[int] | Rows = (), extra: Rows | None = None) -> Rows:
        """Rows [N] that stand highest in any source, in turns; see :meth:`CandidateSources.gather`."""
        blocked = exclude if isinstance(exclude, np.ndarray) else np.fromiter(exclude, np.int64, len(exclude))
        columns = self._columns.copy()
        columns[:, self._find(blocked)[1]] = 0
        more = [] if extra is None else [without(extra[extra > 1], blocked)]
        # Lists cut at the same depth lose nothing where they fill all places, and half of the depth mostly does.
        for depth in (max(limit // 2, 1), limit):
            ranked = [self._rows[places] for places in _best_first(columns, depth)]
            found = _interleave([*ranked, *(rows[:depth] for rows in more)], limit)
            if len(found) == limit:
                break
        return found

    def of(self, rows: Rows) -> Scores:
        """Scores of rows -> [N, S]."""
        scores = np.zeros((len(rows), len(self._columns)), np.float32)
        known, places = self._find(rows)
        scores[known] = self._columns[:, places].T
        return scores

    def _find(self, rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Which of some rows [K] are known [K], and the places of those."""
        if not len(self._rows):
            return np.zeros(len(rows), np.bool_), np.zeros(0, np.intp)
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        known: NDArray[np.bool_] = self._rows[places] == rows
        return known, places[known]


def _best_first(columns: Scores, limit: int) -> list[NDArray[np.int64]]:
    """Places with a score above 0 in each column [S, U], best first; equal scores in order.

    >>> [places.tolist() for places in _best_first(np.array([[0, 2, 0.5, 2], [0, 0, 0, 1]], np.float32), 2)]
    [[1, 3], [3]]
    """
    keys = falling_keys(columns)  # [S, U]
    least = np.full(len(columns), -2)
    if columns.shape[1] > limit > 0:  # all that tie with the last place stay in, so that their order decides
        least = np.minimum(np.partition(keys, limit - 1, axis=1)[:, limit - 1], least)
    return [in_order(column, np.flatnonzero(column <= last), limit) for column, last in zip(keys, least, strict=True)]


def _interleave(ranked: list[Rows], limit: int) -> Rows:
    """First of each list, second of each list, … without repeats, until ``limit``."""
    depth = max((len(rows) for rows in ranked), default=0)
    grid = np.zeros((depth, len(ranked)), np.int64)
    for column, rows in enumerate(ranked):
        grid[: len(rows), column] = rows
    order = distinct(grid.ravel())
    return order[order > 0][:limit]
