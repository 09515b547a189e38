"""What the candidate sources say of many histories at once: the reading of :mod:`online_models.sources`, by the batch.

A server reads one history at a time; a trainer has a batch of them. Here the sums over neighbour lists are products of
sparse matrices, and the lists of a whole batch are ordered by one sort of integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from online_models.best_first import falling_keys
from online_models.distinct import distinct, numbered, numbers_within
from online_models.neighbours import Neighbours
from online_models.sources import READINGS, Reading, Rows, Scores

_MOST_KEYS = 1 << 20  # an example and a row in one number: as many as fit into a sort key beside score and source
_MOST_EXAMPLES = 256
_SCORE_BITS = 31


def examples_at_once(rows: int) -> int:
    """How many examples :func:`read_many` takes where catalogue rows are below ``rows``.

    >>> examples_at_once(20_000), examples_at_once(2_000_000)
    (52, 1)
    """
    return max(1, min(_MOST_EXAMPLES, _MOST_KEYS // max(rows, 1)))


@dataclass(frozen=True)
class SourceLists:
    """The scores of every source for every history, as one long list.

    A *key* is ``example · rows + row``: the places of all examples in one axis.

    Parameters
    ----------
    examples, sources, rows
        B, S, and what every catalogue row is below.
    keys
        [E] whose score it is and of what.
    groups
        [E] ``source · B + example``.
    scores
        [E] above 0.
    """

    examples: int
    sources: int
    rows: int
    keys: Rows
    groups: Rows
    scores: Scores

    def keys_of(self, rows: NDArray[np.integer]) -> Rows:
        """Keys of catalogue rows [B, K], one line an example. [B, K]."""
        keys: Rows = rows + (np.arange(self.examples) * self.rows)[:, None]
        return keys

    def best(self, limit: int, closed: NDArray[np.bool_], extra: Rows) -> Rows:
        """Take what stands highest in any source, in turns; see :meth:`online_models.sources.CandidateSources.gather`.

        Parameters
        ----------
        limit
            Of each example's candidates.
        closed
            [B · rows] True for keys that must not come back.
        extra
            [B, K] rows from elsewhere, best first, 0 where there are none: they share the places.

        Returns
        -------
        Rows
            Keys without repeats, example by example, at most ``limit`` of each. [N].
        """
        grid = np.zeros((self.examples, limit, self.sources + 1), np.int64)  # 0: nobody there
        groups, keys = self._in_order(closed)
        numbers = numbers_within(groups)
        first = np.flatnonzero(numbers < limit)
        source, example = np.divmod(groups[first], self.examples)
        grid[example, numbers[first], source] = keys[first]
        more = self.keys_of(extra)  # [B, K]
        free = (extra > 1) & ~closed[more]
        places = free.cumsum(1) - 1
        example, column = np.nonzero(free & (places < limit))
        grid[example, places[example, column], self.sources] = more[example, column]
        found = distinct(grid.ravel())
        found = found[found > 0]
        return found[numbers_within(found // self.rows) < limit]

    def of(self, keys: Rows) -> Scores:
        """Scores of distinct keys [N] -> [N, S], 0 where a source does not know the item."""
        places = np.zeros(self.examples * self.rows, np.int32)
        places[keys] = np.arange(1, len(keys) + 1, dtype=np.int32)
        asked = places[self.keys]  # [E] 0 where nobody asks
        known = np.flatnonzero(asked)
        scores = np.zeros((len(keys), self.sources), np.float32)
        scores[asked[known] - 1, self.groups[known] // self.examples] = self.scores[known]
        return scores

    def _in_order(self, closed: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """Give groups and keys of what is not closed: by group, then the highest score first, then by row."""
        free = np.flatnonzero(~closed[self.keys])
        falling = falling_keys(self.scores[free]).astype(np.int64) + (1 << _SCORE_BITS)  # above 0: these are scores
        key_bits = (self.examples * self.rows).bit_length()
        order = (self.groups[free] << _SCORE_BITS | falling) << key_bits | self.keys[free]
        order.sort()
        return order >> (_SCORE_BITS + key_bits), order & ((1 << key_bits) - 1)


def read_many(tables: Mapping[str, Neighbours], histories: Rows, rows: int) -> SourceLists:
    """Score everything that the sources know of some histories.

    Parameters
    ----------
    tables
        Neighbour lists by table; a column for each reading whose table is there, in the order of ``READINGS``.
    histories
        [B, L] catalogue rows, newest last; padding and unknown items are ignored.
    rows
        What every catalogue row is below; B is at most :func:`examples_at_once` of it.

    Examples
    --------
    >>> from online_models.neighbours import NeighbourTable
    >>> knn = NeighbourTable(rows=5, width=2)
    >>> knn.put(4, np.array([2, 3]), np.array([.5, .25]))
    >>> lists = read_many({"transitions": knn}, np.array([[3, 4], [4, 3]]), rows=5)
    >>> sorted(zip(lists.keys.tolist(), lists.scores.tolist(), strict=True))
    [(2, 0.5), (3, 0.25)]
    """
    names = [name for name, reading in READINGS.items() if reading.table in tables]
    size = len(histories)
    known = histories > 1  # [B, L]
    steps_back = known[:, ::-1].cumsum(1)[:, ::-1] - 1  # [B, L] known items that are newer
    steps_back[~known] = np.iinfo(np.int64).max
    parts = []
    for table in dict.fromkeys(READINGS[name].table for name in names):
        columns = [column for column, name in enumerate(names) if READINGS[name].table == table]
        readings = [READINGS[names[column]] for column in columns]
        for lines, items, scores in _sums(tables[table], readings, histories, steps_back, rows):
            kept = np.flatnonzero((items > 1) & (scores > 0))
            number, example = np.divmod(lines[kept], size)
            parts.append((example * rows + items[kept], np.array(columns)[number] * size + example, scores[kept]))
    if not parts:
        return SourceLists(size, len(names), rows, *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.float32))
    keys, groups, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SourceLists(size, len(names), rows, keys, groups, found)


def _sums(
    table: Neighbours, readings: list[Reading], histories: Rows, steps_back: Rows, rows: int
) -> Iterator[tuple[Rows, Rows, Scores]]:
    """Lines ``reading · B + example``, items and summed weights of one table, by all of its readings."""
    size, last = len(histories), max(reading.last for reading in readings)
    if last == 0:  # one list for everybody
        items, weights = table.lookup(np.zeros(1, np.int64))
        lines = np.repeat(np.arange(size), items.size)
        yield lines, np.tile(items.ravel().astype(np.int64), size), np.tile(weights.ravel(), size)
        return
    wanted = np.flatnonzero(steps_back.ravel() < last)
    if not len(wanted):
        return
    distinct_rows, places = numbered(histories.ravel()[wanted])  # [U], [K]
    items, weights = table.lookup(distinct_rows)  # [U, W]
    ends = np.arange(len(distinct_rows) + 1, dtype=np.int32) * items.shape[1]
    lists = csr_array((weights.ravel(), items.ravel(), ends), shape=(len(distinct_rows), rows))
    reads = _reads(readings, wanted // histories.shape[1], steps_back.ravel()[wanted], places, size)
    summed = csr_array(reads, shape=(len(readings) * size, len(distinct_rows))) @ lists
    lines = np.repeat(np.arange(len(readings) * size), np.diff(summed.indptr))
    yield lines, summed.indices.astype(np.int64), summed.data


def _reads(
    readings: list[Reading], examples: Rows, steps_back: Rows, places: Rows, size: int
) -> tuple[Scores, NDArray[np.int32], NDArray[np.int32]]:
    """How each reading weighs the items of each history: data, columns and line ends of a matrix [readings · B, U]."""
    data, columns, sizes = [], [], []
    for reading in readings:
        read = np.flatnonzero(steps_back < reading.last)
        data.append((reading.decay ** steps_back[read]).astype(np.float32))
        columns.append(places[read].astype(np.int32))
        sizes.append(np.bincount(examples[read], minlength=size))
    ends = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int32)
    return np.concatenate(data), np.concatenate(columns), ends
