"""Candidate sources: every source scores items from a history by neighbour lists, and their union is ranked.

A source reads the newest ``last`` items of a history, weighs them by ``decay ** steps_back`` and sums the neighbour
lists: ``v(j) = Σ_k decay^k · w(h_k → j)``. Training and serving call this same code, on the trainer's counts and on the
server's mirror of the published rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.neighbours import Neighbours

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a source reads a history: its newest ``last`` items, each step back weighed by ``decay``."""

    last: int
    decay: float = 1.0


# Chosen on the warm-up (first 20 %) of ml-100k and beauty. `popularity` has one list for everybody: row 0.
READINGS: dict[str, Reading] = {
    "item_knn": Reading(last=10, decay=0.9),
    "cooccurrence": Reading(last=10, decay=0.8),
    "transitions": Reading(last=1),
    "popularity": Reading(last=0),
}


class CandidateSources:
    """The sources in a fixed order, so that a column of ``[N, S]`` always means the same.

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
        self.names = tuple(self.tables)

    def read(self, history_rows: Rows) -> SourceScores:
        """Score everything that the sources know of a history; ask the result for candidates and for columns."""
        return SourceScores([self._scores_of(name, history_rows) for name in self.names])

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

    def _scores_of(self, name: str, history_rows: Rows) -> Scores:
        reading = READINGS[name]
        if reading.last == 0:
            history, decay = np.zeros(1, np.int64), np.ones(1, np.float32)
        else:
            history = history_rows[history_rows > 1][-reading.last :]
            decay = (reading.decay ** np.arange(len(history) - 1, -1, -1)).astype(np.float32)  # [H]
        items, weights = self.tables[name].lookup(history)  # [H, M]
        sums = np.bincount(items.ravel(), (weights * decay[:, None]).ravel(), minlength=2).astype(np.float32)  # [R]
        sums[:2] = 0  # padding and the unknown item are nobody's neighbours
        return sums


class SourceScores:
    """What every source says of one history: a score for each catalogue row up to the last that it knows."""

    def __init__(self, columns: list[Scores]) -> None:
        self._columns = columns

    def best(self, limit: int, exclude: Collection[int] | Rows = (), extra: Rows | None = None) -> Rows:
        """Rows [N] that stand highest in any source, in turns; see :meth:`CandidateSources.gather`."""
        blocked = np.fromiter(exclude, np.int64, len(exclude))
        ranked = [_best_first(column, blocked, limit) for column in self._columns]
        if extra is not None:
            ranked.append(extra[~np.isin(extra, blocked) & (extra > 1)])
        return _interleave(ranked, limit)

    def of(self, rows: Rows) -> Scores:
        """Scores of rows -> [N, S]."""
        scores = np.zeros((len(rows), len(self._columns)), np.float32)
        for place, column in enumerate(self._columns):
            inside = rows < len(column)
            scores[inside, place] = column[rows[inside]]
        return scores


def _best_first(column: Scores, blocked: Rows, limit: int) -> Rows:
    """Rows with a score above 0 that are not blocked, best first; equal scores in the order of rows."""
    allowed = column.copy()
    allowed[blocked[blocked < len(column)]] = 0
    rows = np.flatnonzero(allowed)
    return rows[np.argsort(-allowed[rows], kind="stable")[:limit]]


def _interleave(ranked: list[Rows], limit: int) -> Rows:
    """First of each list, second of each list, … without repeats, until ``limit``."""
    depth = max((len(rows) for rows in ranked), default=0)
    if depth == 0:
        return np.zeros(0, np.int64)
    grid = np.zeros((depth, len(ranked)), np.int64)
    for column, rows in enumerate(ranked):
        grid[: len(rows), column] = rows
    flat = grid.ravel()
    _, first = np.unique(flat, return_index=True)
    order = flat[np.sort(first)]
    return order[order > 0][:limit]
