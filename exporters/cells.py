r"""Item vectors in cells, searched best cell first: an inverted file, of which every change is a new one.

A search asks the cells in the order of the most that a vector in them may well reach,

.. math:: q \cdot c + \lVert q \rVert \, r_c / \sqrt{D},

with centre c and radius :math:`r_c`, until so many vectors are scored. Scores are exact inner products. Before there
are enough items for centres, cells are plain blocks of rows, and every one of them is asked.

A :class:`Cells` never changes. Adding rows copies the cells that they enter and leave and shares all others, so a
search sees the items as they were at one moment, waits for nobody, and keeps nobody waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporters.clustering import Nearest, Vectors, cluster, grouped
from exporters.turns import let_others_run
from online_models.best_first import best_first

Rows = NDArray[np.int64]

_BLOCK = 4_096  # rows of a cell before there are centres
_CELLS_AT_ONCE = 4  # rewritten without a pause, in a few tenths of a millisecond
_SPLIT = 4  # a cell so many times larger than the mean is divided


class Cell(NamedTuple):
    """Rows [n] with their vectors [n, D] and the squared distances of these from the centre [n]."""

    rows: Rows
    vectors: Vectors
    apart: Vectors

    @property
    def radius(self) -> float:
        """Distance of the farthest vector from the centre."""
        return math.sqrt(float(self.apart.max(initial=0)))


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A searchable set of vectors.

    Examples
    --------
    >>> cells = Cells.empty(2).with_rows(np.array([5, 6, 7]), np.array([[1, 0], [2, 0], [0, 1]], np.float32))
    >>> rows, scores = cells.search(np.array([1, 0], np.float32), k=2, budget=10)
    >>> rows.tolist(), scores.tolist(), len(cells.without(np.array([6])))
    ([6, 5], [2.0, 1.0], 2)
    """

    dimension: int
    nearest: Nearest | None  # None: blocks of rows
    cells: list[Cell]
    sizes: NDArray[np.int64]  # [C]
    radii: NDArray[np.float32]  # [C]
    cell_of: NDArray[np.int32]  # [R] -1 where a row is not held

    @classmethod
    def empty(cls, dimension: int) -> Cells:
        """Hold nothing."""
        return cls._of(dimension, None, [], np.zeros(0, np.int32))

    @classmethod
    def clustered(cls, rows: Rows, vectors: Vectors, count: int, seed: int = 0) -> Cells:
        """Put rows [N] with vectors [N, D] into about ``count`` cells around centres of their own."""
        centres, labels = _evenly(vectors, count, seed)
        order, ends = grouped(labels, len(centres))
        cells = []
        for cell, centre in enumerate(centres):
            places = order[ends[cell] : ends[cell + 1]]
            cells.append(_cell(rows[places], vectors[places], centre))
        cell_of = np.full(int(rows.max()) + 1, -1, np.int32)
        cell_of[rows] = labels
        return cls._of(vectors.shape[1], Nearest(centres), cells, cell_of)

    @classmethod
    def _of(cls, dimension: int, nearest: Nearest | None, cells: list[Cell], cell_of: NDArray[np.int32]) -> Cells:
        sizes = np.fromiter((len(cell.rows) for cell in cells), np.int64, len(cells))
        radii = np.fromiter((cell.radius for cell in cells), np.float32, len(cells))
        return cls(dimension=dimension, nearest=nearest, cells=cells, sizes=sizes, radii=radii, cell_of=cell_of)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.sizes.sum())

    @property
    def nbytes(self) -> int:
        """Memory of everything that is held."""
        centres = 2 * self.nearest.centres.nbytes if self.nearest is not None else 0
        return sum(cell.rows.nbytes + cell.vectors.nbytes for cell in self.cells) + self.cell_of.nbytes + centres

    def search(self, vector: Vectors, k: int, budget: int) -> tuple[Rows, Vectors]:
        """Find rows with large inner products with ``vector`` [D], best first, and these products.

        Parameters
        ----------
        vector
            The query.
        k
            How many.
        budget
            Vectors that are scored, about; without centres all are.
        """
        chosen, takes = self._chosen(vector, budget)  # [m], [m]
        ends = np.cumsum(takes)
        scores = np.empty(int(takes.sum()), np.float32)
        start = 0
        for cell, end in zip(chosen.tolist(), ends.tolist(), strict=True):
            self.cells[cell].vectors[: end - start].dot(vector, scores[start:end])
            start = end
        best = best_first(scores, k)
        asked = np.searchsorted(ends, best, side="right")  # [k] which of the cells
        places = best - ends[asked] + takes[asked]
        asked_cells = chosen[asked].tolist()
        found = [self.cells[cell].rows[place] for cell, place in zip(asked_cells, places.tolist(), strict=True)]
        return np.array(found, np.int64), scores[best]

    def vector_of(self, row: int) -> Vectors | None:
        """Vector [D] of a row; None where it is not held."""
        if not 0 <= row < len(self.cell_of) or self.cell_of[row] < 0:
            return None
        cell = self.cells[self.cell_of[row]]
        vector: Vectors = cell.vectors[int(np.flatnonzero(cell.rows == row)[0])]
        return vector

    def everything(self) -> tuple[Rows, Vectors]:
        """All rows [N] and their vectors [N, D]."""
        if not self.cells:
            return np.zeros(0, np.int64), np.zeros((0, self.dimension), np.float32)
        rows = np.concatenate([cell.rows for cell in self.cells])
        return rows, np.concatenate([cell.vectors for cell in self.cells])

    def gather(self, rows: Rows) -> tuple[Rows, Vectors]:
        """Those of some distinct rows that are held [K], and their vectors [K, D]."""
        wanted = np.zeros(len(self.cell_of), np.bool_)
        wanted[rows[rows < len(wanted)]] = True
        parts = [self.cells[cell] for cell in np.unique(self.cell_of[wanted]).tolist() if cell >= 0]
        masks = [wanted[part.rows] for part in parts]
        if not parts:
            return np.zeros(0, np.int64), np.zeros((0, self.dimension), np.float32)
        found = np.concatenate([part.rows[mask] for part, mask in zip(parts, masks, strict=True)])
        return found, np.concatenate([part.vectors[mask] for part, mask in zip(parts, masks, strict=True)])

    def with_rows(self, rows: Rows, vectors: Vectors) -> Cells:
        """Add distinct rows [K] with vectors [K, D], or replace theirs."""
        by_row = np.argsort(rows)
        rows, vectors = rows[by_row], vectors[by_row]
        targets = (rows // _BLOCK).astype(np.int32) if self.nearest is None else self.nearest.of(vectors)
        return self._changed(rows, vectors, targets)

    def without(self, rows: Rows) -> Cells:
        """Leave rows out; unknown ones are ignored."""
        held = np.unique(rows[(rows >= 0) & (rows < len(self.cell_of))])
        held = held[self.cell_of[held] >= 0]
        return self._changed(held, np.zeros((0, self.dimension), np.float32), np.zeros(0, np.int32))

    def _chosen(self, vector: Vectors, budget: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Cells to ask, in order, and how many vectors of each: of the last one no more than the budget."""
        if self.nearest is None:
            every = np.flatnonzero(self.sizes)
            return every, self.sizes[every]
        reach = float(np.linalg.norm(vector)) / math.sqrt(self.dimension)
        most = self.nearest.centres @ vector + reach * self.radii  # [C]
        most[self.sizes == 0] = -np.inf
        likely = 2 + int(2 * budget * len(most) / max(len(self), 1))  # to sort all of them takes as long as to ask them
        for count in (likely, len(most)):
            order = best_first(most, min(count, len(most)))
            ends = np.cumsum(self.sizes[order])
            if ends[-1] >= budget:
                break
        chosen = order[: int(np.searchsorted(ends, budget)) + 1]
        return chosen, np.minimum(self.sizes[chosen], max(1, budget))

    def _changed(self, rows: Rows, vectors: Vectors, targets: NDArray[np.int32]) -> Cells:
        if not len(rows):
            return self
        cell_of, leaving = _grown(self.cell_of, int(rows.max()) + 1), np.zeros(max(len(self.cell_of), 1), np.bool_)
        leaving[rows[rows < len(self.cell_of)]] = True
        before = cell_of[rows]
        touched = np.unique(np.concatenate([before[before >= 0], targets]))
        cells = [*self.cells, *(_nothing(self.dimension) for _ in range(len(self.cells), int(touched.max()) + 1))]
        sizes, radii = np.zeros(len(cells), np.int64), np.zeros(len(cells), np.float32)
        sizes[: len(self.sizes)], radii[: len(self.radii)] = self.sizes, self.radii
        order, ends = grouped(targets, len(cells))
        for number, cell in enumerate(touched.tolist()):
            if number % _CELLS_AT_ONCE == 0:
                let_others_run()
            new = order[ends[cell] : ends[cell + 1]]
            cells[cell] = self._rewritten(cells[cell], cell, leaving, rows[new], vectors[new])
            sizes[cell], radii[cell] = len(cells[cell].rows), cells[cell].radius
        cell_of[rows] = targets if len(targets) else -1
        return Cells(
            dimension=self.dimension, nearest=self.nearest, cells=cells, sizes=sizes, radii=radii, cell_of=cell_of
        )

    def _rewritten(self, held: Cell, cell: int, leaving: NDArray[np.bool_], rows: Rows, vectors: Vectors) -> Cell:
        new = _cell(rows, vectors, None if self.nearest is None else self.nearest.centres[cell])
        places = np.flatnonzero(leaving[held.rows])
        by_row = places[np.argsort(held.rows[places])]
        if np.array_equal(held.rows[by_row], rows):  # moved within the cell, as most vectors do in a step
            return Cell(held.rows, _put(held.vectors, by_row, vectors), _put(held.apart, by_row, new.apart))
        stays = np.ones(len(held.rows), np.bool_)
        stays[places] = False
        return Cell(
            np.concatenate([held.rows[stays], rows]),
            np.concatenate([held.vectors[stays], vectors]),
            np.concatenate([held.apart[stays], new.apart]),
        )


def _cell(rows: Rows, vectors: Vectors, centre: Vectors | None) -> Cell:
    if centre is None:
        return Cell(rows, vectors, np.zeros(len(rows), np.float32))
    steps = vectors - centre
    return Cell(rows, vectors, np.einsum("nd,nd->n", steps, steps))


def _put(held: Vectors, places: Rows, values: Vectors) -> Vectors:
    """Copy with other values at some places."""
    made = held.copy()
    made[places] = values
    return made


def _nothing(dimension: int) -> Cell:
    return _cell(np.zeros(0, np.int64), np.zeros((0, dimension), np.float32), None)


def _grown(cell_of: NDArray[np.int32], rows: int) -> NDArray[np.int32]:
    grown = np.full(max(rows, len(cell_of)), -1, np.int32)
    grown[: len(cell_of)] = cell_of
    return grown


def _evenly(vectors: Vectors, count: int, seed: int) -> tuple[Vectors, NDArray[np.int32]]:
    """Cluster, then divide the cells that came out far too large."""
    centres, labels = cluster(vectors, count, seed)
    mean = len(vectors) / len(centres)
    order, ends = grouped(labels, len(centres))
    more = [centres]
    total = len(centres)
    for cell in np.flatnonzero(np.diff(ends) > _SPLIT * mean).tolist():
        places = order[ends[cell] : ends[cell + 1]]
        parts, own = cluster(vectors[places], math.ceil(len(places) / mean), seed)
        centres[cell] = parts[0]
        labels[places] = np.where(own == 0, cell, total + own - 1)
        more.append(parts[1:])
        total += len(parts) - 1
    return np.concatenate(more), labels
