"""What can answer "the best k items for this vector": the served index, exact search as the floor, and peers.

Peers come with the extra ``bench`` (usearch, faiss-cpu). Every one of them searches on one thread.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.retrieval import VectorIndex
from streamer.errors import HeadwaterError

Vectors = NDArray[np.float32]
_PORTION = 65_536  # vectors handed to a peer at once


@dataclass(frozen=True, kw_only=True)
class Searcher:
    """An index that answers: how it searches, and what it holds in memory."""

    search: Callable[[Vectors, int], NDArray[np.int64]]
    size: Callable[[], int]
    index: VectorIndex | None = None

    @property
    def nbytes(self) -> int:
        """Memory of vectors and index."""
        return self.size()


def exact(items: Vectors) -> Searcher:
    """Compute every inner product with NumPy: the floor, and the truth."""

    def search(query: Vectors, k: int) -> NDArray[np.int64]:
        scores = items @ query  # [N]
        top = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        return top[np.argsort(-scores[top], kind="stable")]

    return Searcher(search=search, size=lambda: items.nbytes)


def served(items: Vectors, exact_below: int | None = None) -> Searcher:
    """Fill the index that the server holds; it answers at once, and its cells come in the background."""
    settings = {} if exact_below is None else {"exact_below": exact_below}
    index = VectorIndex(items.shape[1], **settings)
    index.upsert(np.arange(len(items)), items)
    return Searcher(search=lambda query, k: index.search(query, k)[0], size=lambda: index.nbytes, index=index)


def usearch(items: Vectors, kind: str, expansion: int) -> Searcher:
    """Build an HNSW by usearch; the best 2 k by its graph are ordered by exact inner products."""
    found = _needed("usearch.index", "usearch")
    index = found.Index(
        ndim=items.shape[1], metric=found.MetricKind.IP, dtype=kind, expansion_search=expansion, expansion_add=128
    )
    for start in range(0, len(items), _PORTION):
        part = items[start : start + _PORTION]
        index.add(np.arange(start, start + len(part), dtype=np.uint64), part, threads=1)

    def search(query: Vectors, k: int) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = index.search(query, 2 * k, threads=1).keys.astype(np.int64)
        return rows[np.argsort(-(items[rows] @ query), kind="stable")[:k]]

    return Searcher(search=search, size=lambda: int(index.memory_usage) + items.nbytes)


def faiss_cells(items: Vectors, probes: int) -> Searcher:
    """Build an inverted file by faiss, of as many cells as twice the root of N."""
    found = _needed("faiss", "faiss-cpu")
    found.omp_set_num_threads(1)
    cells = max(1, int(2 * np.sqrt(len(items))))
    index = found.IndexIVFFlat(found.IndexFlatIP(items.shape[1]), items.shape[1], cells, found.METRIC_INNER_PRODUCT)
    random = np.random.default_rng(0)
    index.train(items[random.choice(len(items), min(len(items), 64 * cells), replace=False)])
    index.add(items)
    index.nprobe = probes
    return Searcher(search=partial(_faiss_search, index), size=lambda: items.nbytes + 8 * len(items))


def faiss_graph(items: Vectors, expansion: int) -> Searcher:
    """Build an HNSW by faiss."""
    found = _needed("faiss", "faiss-cpu")
    found.omp_set_num_threads(1)
    index = found.IndexHNSWFlat(items.shape[1], 16, found.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 128, expansion
    index.add(items)
    links = 4 * index.hnsw.neighbors.size()
    return Searcher(search=partial(_faiss_search, index), size=lambda: items.nbytes + links)


def _faiss_search(index: Any, query: Vectors, k: int) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = index.search(query[None], k)[1][0]
    return rows


KINDS: dict[str, Callable[[Vectors], Searcher]] = {
    "exact": exact,
    "served": served,
    "cells": partial(served, exact_below=0),
    "faiss-ivf-32": partial(faiss_cells, probes=32),
    "faiss-ivf-128": partial(faiss_cells, probes=128),
    "faiss-hnsw-512": partial(faiss_graph, expansion=512),
    "usearch-f32-128": partial(usearch, kind="f32", expansion=128),
    "usearch-f32-1024": partial(usearch, kind="f32", expansion=1_024),
    "usearch-f16-1024": partial(usearch, kind="f16", expansion=1_024),
    "usearch-bf16-1024": partial(usearch, kind="bf16", expansion=1_024),
}
"""Kinds by name: exact search, the served index, cells whatever the size, and peers with what a search weighs."""


def _needed(module: str, package: str) -> Any:
    """Import a peer.

    Raises
    ------
    HeadwaterError
        It is not installed.
    """
    importlib.import_module("onnxruntime")  # before usearch: where that is loaded first, this one crashes the process
    if importlib.util.find_spec(module.split(".")[0]) is None:
        raise HeadwaterError(f"{package} is not installed; `pip install headwater[bench]` brings the peers.")
    return importlib.import_module(module)
