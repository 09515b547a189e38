"""Floors: what the parts of a request cost by themselves, with nothing around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporters.registry import Registry
from feature_store.online import OnlineStore
from streamer.bench.latency import summary

_WARM_UP = 20


def repeated(call: Callable[[int], object], times: int = 500) -> dict[str, float]:
    """Time a call, one after another; it is given its number.

    >>> sorted(repeated(lambda number: number, times=3))
    ['max_ms', 'p50_ms', 'p90_ms', 'p99_ms']
    """
    for number in range(_WARM_UP):
        call(number)
    taken_ms = []
    for number in range(times):
        started = time.perf_counter()
        call(number)
        taken_ms.append(1_000 * (time.perf_counter() - started))
    return summary(taken_ms)


def onnx(registry: Registry, name: str, candidates: int) -> dict[str, dict[str, float]]:
    """Time each graph of the version that serves in ONNX Runtime, on one thread, for one user.

    Parameters
    ----------
    registry, name
        Where the version lies.
    candidates
        N.
    """
    pointer = registry.current(name)
    assert pointer is not None, "publish a version first"
    folder, graphs = registry.folder(name, pointer.version), registry.manifest(name, pointer.version).graphs
    return {f"onnx_{graph}": _timed_graph(folder / info.file, candidates) for graph, info in graphs.items()}


def _timed_graph(path: Path, candidates: int) -> dict[str, float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = drawn_feeds(session, {"B": 1, "N": candidates})
    return repeated(lambda _: session.run(None, feeds))


def drawn_feeds(session: onnxruntime.InferenceSession, sizes: dict[str, int]) -> dict[str, NDArray[np.generic]]:
    """Draw inputs of the shapes that a graph asks for; integers are 1, which every table has.

    Parameters
    ----------
    session
        The graph.
    sizes
        Length of the axes that the graph leaves open, by their name; any other is 1.
    """
    random = np.random.default_rng(7)
    feeds: dict[str, NDArray[np.generic]] = {}
    for given in session.get_inputs():
        shape = [axis if isinstance(axis, int) else sizes.get(axis, 1) for axis in given.shape]
        whole = given.type == "tensor(int64)"
        feeds[given.name] = np.ones(shape, np.int64) if whole else random.random(shape, np.float32)
    return feeds


def store_read(store: OnlineStore, user_ids: list[str]) -> dict[str, float]:
    """Time the read of one user's record."""
    return repeated(lambda number: store.read(user_ids[number % len(user_ids)]))


def brute_force(vectors: NDArray[np.float32], best: int) -> dict[str, float]:
    """Time the exact best of all items for one vector, by one matrix product in NumPy."""
    queries = np.random.default_rng(7).normal(size=(64, vectors.shape[1])).astype(np.float32)  # [Q, D]

    def search(number: int) -> NDArray[np.intp]:
        scores = vectors @ queries[number % len(queries)]  # [R]
        found = np.argpartition(-scores, best)[:best]
        return found[np.argsort(-scores[found])]

    return repeated(search, times=200)
