"""How well and how fast the best items for a vector are found, beside exact search and peers, in one run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from exporters.retrieval import VectorIndex
from streamer.bench.item_vectors import MADE_UP, Sample, learnt
from streamer.bench.latency import summary
from streamer.bench.searchers import KINDS, Searcher, exact
from streamer.bench.tables import retrieve_table
from streamer.commands.reporting import progress_bar
from streamer.errors import HeadwaterError
from streamer.evaluation.data import load
from streamer.settings import Settings

K = 100
_WARM = 20
_PAUSE_S = 0.01  # between two searches while cells are learnt
_MOVED_AT_ONCE = 100
_STEP = 0.02  # by which a moved vector changes, as a share of itself

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RetrieveOptions:
    """What is measured: made-up catalogues of some sizes, or one learnt from a data set."""

    items: tuple[int, ...] = (100_000, 1_000_000)
    dimension: int = 64
    data: tuple[str, ...] = ("clustered",)
    kinds: tuple[str, ...] = ("exact", "served", "faiss-ivf-128", "usearch-f32-1024")
    queries: int = 1_000
    moving_per_second: int = 1_000
    dataset: str | None = None
    fit_minutes: float = 1.0
    seed: int = 0


def run(options: RetrieveOptions, console: Console) -> dict[str, Any]:
    """Measure, print a table for each catalogue, and return everything as JSON values."""
    found: list[dict[str, Any]] = []
    for name, sample in _samples(options):
        entries_expected = len(set(options.kinds) | {"exact"}) + ("served" in options.kinds)
        with progress_bar(name, entries_expected * len(sample.queries)) as bar:
            entries = measure(sample, options.kinds, moving_per_second=options.moving_per_second, progress=bar.advance)
        console.print(retrieve_table(f"{name}: {len(sample.items):,} items, best {K}, one query at a time", entries))
        found += [{"data": name, **entry} for entry in entries]
    return {"k": K, "queries": options.queries, "seed": options.seed, "retrieve": found}


def _samples(options: RetrieveOptions) -> Iterator[tuple[str, Sample]]:
    if options.dataset is not None:
        data = load(options.dataset, Settings().data, None)
        yield data.name, learnt(data.log, options.queries, options.fit_minutes, options.seed)
        return
    for name in options.data:
        for items in options.items:
            yield name, MADE_UP[name](items, options.dimension, options.queries, options.seed)


def measure(
    sample: Sample,
    kinds: Sequence[str],
    *,
    moving_per_second: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Ask every query of every kind.

    Parameters
    ----------
    sample
        Items and queries.
    kinds
        Keys of :data:`~streamer.bench.searchers.KINDS`; exact search always goes first, for the truth.
    moving_per_second
        Besides, the served index is asked while so many vectors a second move.
    progress
        Told how many more queries have been answered.

    Returns
    -------
    list
        One entry a kind: kind, items, dimension, recall@100, p50_ms, p99_ms, the same of the CPU time alone (what an
        idle machine would show), bytes, build_s; a kind that is not installed has a note instead. For "served, cells on
        their way" build_s is the time until the first answer.
    """
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise HeadwaterError(f"There is no kind {sorted(unknown)}; there are {', '.join(KINDS)}.")
    truth, first = _asked(exact(sample.items), sample, progress)
    found = [_entry("exact", sample, truth, truth, first)]
    for kind in kinds:
        if kind == "exact":
            continue
        try:
            found += _of_kind(kind, sample, truth, moving_per_second, progress)
        except HeadwaterError as error:
            found.append({"kind": kind, "note": str(error)})
            progress(len(sample.queries))
    return found


def _of_kind(
    kind: str, sample: Sample, truth: list[Rows], moving_per_second: int, progress: Callable[[int], None]
) -> list[dict[str, Any]]:
    started, cpu = time.perf_counter(), time.process_time()
    searcher = KINDS[kind](sample.items)
    entries = [] if searcher.index is None else _while_arranged(kind, searcher, searcher.index, sample, truth, started)
    built = {"build_s": round(time.perf_counter() - started, 2), "build_cpu_s": round(time.process_time() - cpu, 2)}
    rows, figures = _asked(searcher, sample, progress)
    entries.append(_entry(kind, sample, truth, rows, {**figures, **built}))
    if moving_per_second and kind == "served":
        with _moving(searcher, sample.items, moving_per_second):
            rows, figures = _asked(searcher, sample, progress)
        entries.append(_entry(f"served, {moving_per_second:,} moving/s", sample, truth, rows, figures))
    return entries


def _while_arranged(
    kind: str, searcher: Searcher, index: VectorIndex, sample: Sample, truth: list[Rows], started: float
) -> list[dict[str, Any]]:
    """Ask from the first moment on until the cells are there; nothing where they are there at once."""
    rows, times_ms, first_answer_s = [], [], 0.0
    for query in cycle(sample.queries):
        begun = time.perf_counter()
        rows.append(searcher.search(query, K))
        times_ms.append(1_000 * (time.perf_counter() - begun))
        first_answer_s = first_answer_s or time.perf_counter() - started
        if index.settle(_PAUSE_S):
            break
    if index.exact:
        return []
    best = [truth[place % len(truth)] for place in range(len(rows))]
    figures = {**summary(times_ms), "bytes": searcher.nbytes, "build_s": round(first_answer_s, 3)}
    return [_entry(f"{kind}, cells on their way", sample, best, rows, figures)]


def _asked(searcher: Searcher, sample: Sample, progress: Callable[[int], None]) -> tuple[list[Rows], dict[str, Any]]:
    for query in sample.queries[:_WARM]:
        searcher.search(query, K)
    rows, times_ms, cpu_ms = [], [], []
    for query in sample.queries:
        started, cpu = time.perf_counter(), time.thread_time()
        rows.append(searcher.search(query, K))
        cpu_ms.append(1_000 * (time.thread_time() - cpu))
        times_ms.append(1_000 * (time.perf_counter() - started))
        progress(1)
    worked = {f"cpu_{name}": value for name, value in summary(cpu_ms).items() if name in ("p50_ms", "p99_ms")}
    return rows, {**summary(times_ms), **worked, "bytes": searcher.nbytes}


def _entry(kind: str, sample: Sample, truth: list[Rows], rows: list[Rows], figures: dict[str, Any]) -> dict[str, Any]:
    items, dimension = sample.items.shape
    return {
        "kind": kind,
        "items": items,
        "dimension": dimension,
        f"recall@{K}": round(recall(truth, rows), 4),
        **figures,
    }


def recall(truth: list[Rows], found: list[Rows]) -> float:
    """Mean share of the true best that was found.

    >>> recall([np.array([1, 2]), np.array([3, 4])], [np.array([2, 1]), np.array([3, 9])])
    0.75
    """
    shares = [len(np.intersect1d(best, rows)) / len(best) for best, rows in zip(truth, found, strict=True)]
    return float(np.mean(shares))


@contextmanager
def _moving(searcher: Searcher, items: NDArray[np.float32], per_second: int) -> Iterator[None]:
    """Move vectors a little, as a learner does, on a thread of its own, as long as the block lasts."""
    index, stop = searcher.index, threading.Event()
    if index is None:
        yield
        return
    random = np.random.default_rng(1)

    def move() -> None:
        due = time.perf_counter()
        while not stop.is_set():
            rows = random.choice(len(items), min(_MOVED_AT_ONCE, len(items)), replace=False)
            noise = random.normal(size=(len(rows), items.shape[1])).astype(np.float32) / np.sqrt(items.shape[1])
            norms = np.linalg.norm(items[rows], axis=1, keepdims=True)
            index.upsert(rows, items[rows] + _STEP * norms * noise)
            due += _MOVED_AT_ONCE / per_second
            stop.wait(max(0.0, due - time.perf_counter()))

    mover = threading.Thread(target=move, daemon=True)
    mover.start()
    try:
        yield
    finally:
        stop.set()
        mover.join()
