"""Retrieval: the items whose vectors have the largest inner product with a vector.

Up to ``exact_below`` items every score is computed; past that items lie in cells (:mod:`exporters.cells`) and the most
promising cells are asked. One thread writes, any number search. A change is visible whole or not at all, a search waits
for nothing, and centres are learnt anew in the background as items come and vectors move.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time

import numpy as np

from exporters import metrics
from exporters.cells import Cells, Rows
from exporters.clustering import Vectors

_log = logging.getLogger(__name__)
_NICE = 10  # of the thread that learns centres: requests come first
_MANY = 100  # results that a full budget is for
_FEW_VECTORS = 2_000  # to score fewer saves nothing
_LATE_ROUNDS = 3  # catching up with the writer without holding it


class VectorIndex:
    """Item vectors by catalogue row.

    Parameters
    ----------
    dimension
        D.
    exact_below
        So many items are searched exactly: that is as fast as asking cells.
    breadth
        Vectors that a search for a hundred items scores, as a multiple of the square root of the number of items; more
        finds more. A search for fewer scores as many fewer as the square root says, and finds about as large a share.
    density
        Cells, as a multiple of the same root.

    Examples
    --------
    >>> index = VectorIndex(2)
    >>> index.upsert(np.array([5, 6, 7]), np.array([[1, 0], [2, 0], [0, 1]], np.float32))
    >>> rows, scores = index.search(np.array([1, 0], np.float32), k=2)
    >>> rows.tolist(), scores.tolist()
    ([6, 5], [2.0, 1.0])

    References
    ----------
    Sivic and Zisserman (2003), Video Google: inverted files over clusters. What differs: cells are ordered by a bound
    with their radius, because the largest inner products often lie at the rim, and a search ends by vectors, not by
    cells. A graph (HNSW) costs many times more to build, and again with every step of a learner that moves vectors.
    """

    def __init__(self, dimension: int, exact_below: int = 20_000, breadth: float = 20.0, density: float = 4.0) -> None:
        self.dimension, self.exact_below, self.breadth, self.density = dimension, exact_below, breadth, density
        self._held = Cells.empty(dimension)
        self._pinned: Cells | None = None
        self._writing = threading.RLock()
        self._late: list[Rows] | None = None  # rows that changed while centres are learnt; None: they are not
        self._learner: threading.Thread | None = None
        self._learnt_from = 0
        self._moved = 0

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._searched)

    @property
    def exact(self) -> bool:
        """Whether every score is computed."""
        return self._held.nearest is None

    @property
    def nbytes(self) -> int:
        """Memory of vectors, rows and centres."""
        return self._held.nbytes + (0 if self._pinned is None else self._pinned.nbytes)

    def of_version(self, rows: Rows, vectors: Vectors) -> Cells:
        """Arrange a version's vectors [K, D] of distinct rows [K] for :meth:`pin`; searches go on meanwhile."""
        return self._arranged(Cells.empty(self.dimension).with_rows(rows, vectors))

    def pin(self, cells: Cells) -> None:
        """Search a version's vectors until :meth:`unpin`; what is added or removed is kept behind them."""
        self._pinned = cells

    def unpin(self) -> None:
        """Search what is held again."""
        self._pinned = None

    def upsert(self, rows: Rows, vectors: Vectors) -> None:
        """Add or replace vectors [K, D] of distinct rows [K]; searches see all of them from one moment on."""
        if vectors.shape != (len(rows), self.dimension):
            raise ValueError(f"vectors have shape {vectors.shape}; expected ({len(rows)}, {self.dimension})")
        with self._writing:
            before = self._held
            self._held = before.with_rows(rows, np.asarray(vectors, np.float32))
            self._note(rows, before)

    def remove(self, rows: Rows) -> None:
        """Forget rows; unknown ones are ignored."""
        with self._writing:
            before = self._held
            self._held = before.without(rows)
            self._note(rows, before)

    def search(self, vector: Vectors, k: int) -> tuple[Rows, Vectors]:
        """Find the ``k`` rows with the largest inner products with ``vector`` [D], best first, and these products."""
        vector = np.ascontiguousarray(vector, np.float32)
        if vector.shape != (self.dimension,):
            raise ValueError(f"the vector has shape {vector.shape}; expected ({self.dimension},)")
        return self._search(self._searched, vector, k)

    def similar(self, row: int, k: int) -> tuple[Rows, Vectors]:
        """Find the ``k`` rows nearest to another row, without itself; none where it has no vector."""
        held = self._searched
        vector = held.vector_of(row)
        if vector is None:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        rows, scores = self._search(held, vector, k + 1)
        kept = rows != row
        return rows[kept][:k], scores[kept][:k]

    def settle(self, timeout_seconds: float | None = None) -> bool:
        """Wait until no centres are being learnt; whether that is so."""
        while (learner := self._learner) is not None and learner.is_alive():
            learner.join(timeout_seconds)
            if learner.is_alive():
                return False
        return True

    @property
    def _searched(self) -> Cells:
        return self._held if self._pinned is None else self._pinned

    def _search(self, held: Cells, vector: Vectors, k: int) -> tuple[Rows, Vectors]:
        full = self.breadth * math.sqrt(len(held))
        fitting = max(full * math.sqrt(min(k, _MANY) / _MANY), min(full, _FEW_VECTORS))
        budget = max(int(fitting), 2 * k)
        return held.search(vector, k, budget)

    def _note(self, rows: Rows, before: Cells) -> None:
        """Count what moved, remember it for who learns centres now, and start that where it is time."""
        if self._late is not None:
            self._late.append(rows)
            return
        if self.exact:
            worn = len(self._held) > self.exact_below
        else:
            self._moved += _moved(rows, before, self._held)
            worn = self._moved >= self._learnt_from or len(self._held) <= self.exact_below // 2
        if worn:
            self._late = []
            self._learner = threading.Thread(target=self._learn, name="retrieval-centres", daemon=True)
            self._learner.start()

    def _learn(self) -> None:
        """Put all items into cells anew, then catch up with what changed meanwhile, and switch."""
        _yield_to_requests()
        started = time.perf_counter()
        try:
            fresh = self._arranged(self._held)
            for _ in range(_LATE_ROUNDS):
                fresh = self._caught_up(fresh)
            with self._writing:
                self._held = self._caught_up(fresh)
                self._late, self._moved, self._learnt_from = None, 0, max(1, len(self._held))
        except Exception:  # what is searched now goes on being searched
            _log.exception("the retrieval index could not be arranged anew")
            with self._writing:
                self._late, self._moved = None, -len(self._held)
            return
        metrics.INDEX_ARRANGED_SECONDS.observe(time.perf_counter() - started)
        _log.info("%d items in %d cells", len(self._held), len(self._held.cells))

    def _arranged(self, held: Cells) -> Cells:
        rows, vectors = held.everything()
        if len(rows) <= self.exact_below:
            return Cells.empty(self.dimension).with_rows(rows, vectors)
        return Cells.clustered(rows, vectors, max(1, int(self.density * math.sqrt(len(rows)))))

    def _caught_up(self, fresh: Cells) -> Cells:
        with self._writing:
            late, self._late, held = self._late or [], [], self._held
        if not late:
            return fresh
        changed = np.unique(np.concatenate(late))
        rows, vectors = held.gather(changed)
        return fresh.without(np.setdiff1d(changed, rows)).with_rows(rows, vectors)


def _moved(rows: Rows, before: Cells, after: Cells) -> int:
    """How many of the rows lie in another cell than before."""
    known = rows[(rows >= 0) & (rows < min(len(before.cell_of), len(after.cell_of)))]
    return len(rows) - int((before.cell_of[known] == after.cell_of[known]).sum())


def _yield_to_requests() -> None:
    """Give this thread a lower priority than the others, where the system has priorities of threads."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
        except OSError:
            _log.debug("the priority of the thread stays as it is")
