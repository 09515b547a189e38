"""Baselines over the same events and the same sample as the served lists: test, then learn, without any delay."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import Batch, Candidates, Context
from online_models.counting import ItemKNN
from online_models.evaluation.metrics import hit, ndcg
from online_models.sources import CandidateSources
from online_models.zoo.biased_mf import BiasedMF
from streamer.batches import user_row

DEPTH = 10
WEEK_SECONDS = 7 * 86_400.0
_NEGATIVES = 4
_MISS = 1_000_000  # behind every list, however short the catalogue
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Taken:
    """One event as the baselines see it."""

    user_id: str
    item_id: str
    time_seconds: float
    asked: bool  # whether the served list was judged at this event


def measure(
    events: Sequence[Taken], seed: int = 7, progress: Callable[[int], None] = lambda done: None
) -> dict[str, float]:
    """Hit rate and NDCG at 10 of popularity over 7 days, item-kNN and BiasedMF on the asked events.

    Every baseline ranks the full catalogue of items seen so far but for those that the user has taken, and is told of
    each event before the next one comes. Ties count against it, as does an item that it cannot score.

    Parameters
    ----------
    events
        In the order in which they were published.
    seed
        Of BiasedMF and its negatives.
    progress
        Called now and then with the number of events done.
    """
    if not any(event.asked for event in events):
        return {}
    lineup = _Lineup(events, seed)
    ranks: dict[str, list[int]] = {"popular_7d": [], "item_knn": [], "river": []}
    for done, event in enumerate(events):
        if event.asked:
            for name, rank in lineup.test(event).items():
                ranks[name].append(rank)
        lineup.learn(event)
        if done % 500 == 0:
            progress(done)
    values = {}
    for name, found in ranks.items():
        array = np.array(found)
        values[f"{name}_hr@{DEPTH}"] = float(hit(array, DEPTH).mean())
        values[f"{name}_ndcg@{DEPTH}"] = float(ndcg(array, DEPTH).mean())
    return values


class _Lineup:
    """The three baselines with what they share: rows of items, histories of users."""

    def __init__(self, events: Sequence[Taken], seed: int) -> None:
        ids = dict.fromkeys(event.item_id for event in events)
        self.rows = {item_id: row for row, item_id in enumerate(ids, start=2)}
        size = len(ids) + 2
        self.seen = np.zeros(size, bool)  # [R] items that have occurred
        self.histories: dict[str, list[int]] = {}
        self.week = _Week(size)
        self.knn = ItemKNN(size)
        self.sources = CandidateSources({"item_knn": self.knn})
        self.factors = BiasedMF(BiasedMF.Config(rows=size, seed=seed))
        self.generator = np.random.default_rng(seed)

    def test(self, event: Taken) -> dict[str, int]:
        history = np.array(self.histories.get(event.user_id, ()), np.int64)
        row = self.rows[event.item_id]
        allowed = self.seen.copy()
        allowed[history] = False  # as the server leaves out what was taken
        knn = np.zeros(len(self.seen), np.float32)
        knn[:] = self.sources.score(history, np.arange(len(knn)))[:, 0]
        everything = np.arange(len(self.seen))
        factors = self.factors.score(_context(event), _candidates(everything)).numpy()[0]
        self.week.forget(event.time_seconds)
        return {
            "popular_7d": _rank(self.week.counts, row, allowed),
            "item_knn": _rank(knn, row, allowed),
            "river": _rank(factors, row, allowed, positive=False),
        }

    def learn(self, event: Taken) -> None:
        row, history = self.rows[event.item_id], self.histories.setdefault(event.user_id, [])
        self.week.add(row, event.time_seconds)
        self.knn.observe(np.array(history[-50:], np.int64), row)
        known = np.flatnonzero(self.seen)
        drawn = known[self.generator.integers(0, len(known), _NEGATIVES)] if len(known) else known
        self.factors.learn(_batch(event, np.concatenate([[row], drawn[drawn != row]])))
        self.seen[row] = True
        if row not in history:
            history.append(row)
        else:  # a repeat moves to the end
            history.remove(row)
            history.append(row)


class _Week:
    """Exact counts of the last seven days."""

    def __init__(self, size: int) -> None:
        self.counts = np.zeros(size, np.float32)  # [R]
        self._events: deque[tuple[float, int]] = deque()

    def add(self, row: int, time_seconds: float) -> None:
        self._events.append((time_seconds, row))
        self.counts[row] += 1

    def forget(self, now_seconds: float) -> None:
        while self._events and self._events[0][0] < now_seconds - WEEK_SECONDS:
            self.counts[self._events.popleft()[1]] -= 1


def _rank(scores: NDArray[np.float32], row: int, allowed: NDArray[np.bool_], positive: bool = True) -> int:
    """Rank of a row, ties against it; past every list where its score of 0 says that nothing is known of it."""
    if not allowed[row] or (positive and scores[row] <= 0):
        return _MISS
    return int(((scores >= scores[row]) & allowed).sum())


def _candidates(rows: Rows) -> Candidates:
    number = len(rows)
    return Candidates(
        items=torch.from_numpy(rows)[None],  # [1, N]
        source_scores=torch.zeros(1, number, 1),
        features=torch.zeros(1, number, 1),
    )


def _context(event: Taken) -> Context:
    none = torch.zeros(1, 1, dtype=torch.int64)
    return Context(
        history_items=none,
        history_actions=none,
        history_ages_seconds=torch.zeros(1, 1),
        features=torch.ones(1, 1),
        surface=none[0],
        source_item=none[0],
        query=none,
        time_seconds=torch.tensor([event.time_seconds], dtype=torch.float64),
        user=torch.tensor([user_row(event.user_id)]),
    )


def _batch(event: Taken, rows: Rows) -> Batch:
    labels = torch.zeros(1, len(rows))
    labels[0, 0] = 1
    return Batch(
        context=_context(event),
        candidates=_candidates(rows),
        labels=labels,
        log_q=torch.zeros(1, len(rows)),
        weights=torch.ones(1),
        actions=torch.zeros(1, dtype=torch.int64),
    )
