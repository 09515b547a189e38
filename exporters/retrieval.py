"""Retrieval: the items whose vectors have the largest inner product with a vector.

Up to ``exact_below`` items every score is computed; past that an HNSW graph (usearch) proposes and exact inner products
decide. Scores therefore always come from the current vectors; the graph only decides who is asked. One thread writes,
any number search. Updates wear a graph out, so after as many updates as there are items it is built anew beside the old
one and switched.
"""

from __future__ import annotations

import threading

import numpy as np
import onnxruntime  # noqa: F401  before usearch: where that is loaded first, loading this one crashes the process
from numpy.typing import NDArray
from usearch.index import Index, MetricKind

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

_CHUNK = 64  # vectors written under one hold of the lock


class VectorIndex:
    """Item vectors by catalogue row.

    Parameters
    ----------
    dimension
        D.
    exact_below
        So many items are searched exactly; a matrix product over them is faster than a graph.
    expansion
        How many proposals the graph weighs while searching; larger finds more and takes longer.

    Examples
    --------
    >>> index = VectorIndex(2)
    >>> index.upsert(np.array([5, 6, 7]), np.array([[1, 0], [2, 0], [0, 1]], np.float32))
    >>> rows, scores = index.search(np.array([1, 0], np.float32), k=2)
    >>> rows.tolist(), scores.tolist()
    ([6, 5], [2.0, 1.0])
    """

    def __init__(self, dimension: int, exact_below: int = 50_000, expansion: int = 128) -> None:
        self.dimension, self.exact_below, self.expansion = dimension, exact_below, expansion
        self._vectors = np.zeros((1_024, dimension), np.float32)  # [R, D]
        self._live = np.zeros(1_024, np.bool_)  # [R]
        self._count = 0
        self._graph: Index | None = None
        self._updates = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Return the number of items."""
        return self._count

    @property
    def exact(self) -> bool:
        """Whether every score is computed."""
        return self._graph is None

    def upsert(self, rows: Rows, vectors: Vectors) -> None:
        """Add or replace vectors [K, D] of distinct rows [K]."""
        if vectors.shape != (len(rows), self.dimension):
            raise ValueError(f"vectors have shape {vectors.shape}; expected ({len(rows)}, {self.dimension})")
        for start in range(0, len(rows), _CHUNK):
            with self._lock:
                self._write(rows[start : start + _CHUNK], vectors[start : start + _CHUNK])
        self._tend()

    def remove(self, rows: Rows) -> None:
        """Forget rows; unknown ones are ignored."""
        with self._lock:
            gone = rows[rows < len(self._live)]
            gone = np.unique(gone[self._live[gone]])
            self._live[gone] = False
            self._count -= len(gone)
            if self._graph is not None and len(gone):
                self._graph.remove(gone.astype(np.uint64))
                self._updates += len(gone)

    def search(self, vector: Vectors, k: int) -> tuple[Rows, Vectors]:
        """Find the ``k`` rows with the largest inner products with ``vector`` [D], best first, and these products."""
        vector = np.ascontiguousarray(vector, np.float32)
        if vector.shape != (self.dimension,):
            raise ValueError(f"the vector has shape {vector.shape}; expected ({self.dimension},)")
        with self._lock:
            rows, scores = self._every(vector) if self._graph is None else self._proposed(vector, k)
        best = _largest(scores, k)
        return rows[best], scores[best]

    def similar(self, row: int, k: int) -> tuple[Rows, Vectors]:
        """Find the ``k`` rows nearest to another row, without itself; none where it has no vector."""
        with self._lock:
            if row >= len(self._live) or not self._live[row]:
                return np.zeros(0, np.int64), np.zeros(0, np.float32)
            rows, scores = self.search(self._vectors[row].copy(), k + 1)
        kept = rows != row
        return rows[kept][:k], scores[kept][:k]

    def _every(self, vector: Vectors) -> tuple[Rows, Vectors]:
        scores = self._vectors @ vector  # [R]: cheaper than gathering the live rows first
        rows = np.flatnonzero(self._live)
        return rows, scores[rows]

    def _proposed(self, vector: Vectors, k: int) -> tuple[Rows, Vectors]:
        if self._graph is None or not self._count:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        found = self._graph.search(vector, min(2 * k, self._count))
        rows: Rows = found.keys.astype(np.int64)
        rows = rows[self._live[rows]]
        return rows, self._vectors[rows] @ vector

    def _write(self, rows: Rows, vectors: Vectors) -> None:
        if len(rows) and rows.max() >= len(self._live):
            self._grow(int(rows.max()) + 1)
        known = self._live[rows]
        self._vectors[rows], self._live[rows] = vectors, True
        self._count += int((~known).sum())
        if self._graph is not None:
            if known.any():
                self._graph.remove(rows[known].astype(np.uint64))
            self._graph.add(rows.astype(np.uint64), vectors, threads=1)
            self._updates += len(rows)

    def _grow(self, rows: int) -> None:
        size = max(rows, 2 * len(self._live))
        vectors, live = np.zeros((size, self.dimension), np.float32), np.zeros(size, np.bool_)
        vectors[: len(self._vectors)], live[: len(self._live)] = self._vectors, self._live
        self._vectors, self._live = vectors, live

    def _tend(self) -> None:
        """Build the graph when there are enough items for one, or when the present one is worn out. Writer only."""
        if self._count <= self.exact_below or (self._graph is not None and self._updates < self._count):
            return
        rows = np.flatnonzero(self._live)
        graph = Index(ndim=self.dimension, metric=MetricKind.IP, dtype="f32", expansion_search=self.expansion)
        graph.add(rows.astype(np.uint64), self._vectors[rows])
        with self._lock:
            self._graph, self._updates = graph, 0


def _largest(scores: Vectors, k: int) -> NDArray[np.intp]:
    """Places of the ``k`` largest scores, largest first; ties by place."""
    if k < len(scores):
        top = np.sort(np.argpartition(-scores, k)[:k])
    else:
        top = np.arange(len(scores))
    return top[np.argsort(-scores[top], kind="stable")]
