"""What the learners that count item pairs share: bounded counts, the rows that they touched, exact state."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import Batch, Candidates, Context
from online_models.learner import Graph
from online_models.neighbours import PairCounts
from online_models.sources import CandidateSources

Rows = NDArray[np.int64]


class PairLearner:
    """A learner made of pair counts; a subclass says which pairs an event adds and how counts become weights.

    Parameters
    ----------
    rows
        Rows of the catalogue.
    width
        Partners that each row keeps.
    """

    name: str  # its column in CandidateSources
    law_exceptions = {
        "learn_lowers_loss": "a counting learner has no loss",
        "graphs_agree": "a counting learner publishes rows, not a graph",
    }

    def __init__(self, rows: int = 20_000, width: int = 256) -> None:
        self.pairs = PairCounts(rows, width)
        self.item_counts = np.zeros(rows, np.float32)  # [R]
        self._touched: set[int] = set()

    def learn(self, batch: Batch) -> dict[str, float]:
        """Count the pairs of every example; returns how many positives were counted."""
        examples, targets = taken(batch)
        self.observe_many(batch.context.history_items.numpy()[examples], targets)
        return {"counted": float(len(targets))}

    def observe(self, history: Rows, target: int) -> None:
        """Count one event: ``target`` [ ] was taken after ``history`` [L], newest last."""
        self.observe_many(np.asarray(history)[None], np.array([target]))

    def observe_many(self, histories: Rows, targets: Rows) -> None:
        """Count events: ``targets`` [K] were taken after ``histories`` [K, L], newest last."""
        raise NotImplementedError

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours and weights of rows [H] -> [H, W], [H, W]."""
        raise NotImplementedError

    def best(self, row: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the ``width`` strongest neighbours of a row, best first: what is published."""
        items, weights = self.lookup(np.array([row]))
        order = np.argsort(-weights[0], kind="stable")[:width]
        order = order[items[0][order] > 0]
        return items[0][order], weights[0][order]

    def score(self, context: Context, candidates: Candidates) -> Tensor:
        """Sum the neighbour weights of the history -> [B, N]."""
        sources = CandidateSources({self.name: self})
        scores = [
            sources.score(history, items)[:, 0]
            for history, items in zip(context.history_items.numpy(), candidates.items.numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(scores))  # [B, N]

    def touched(self) -> list[int]:
        """Rows whose neighbours changed since the last call."""
        rows, self._touched = sorted(self._touched), set()
        return rows

    def forget(self, rows: Rows) -> None:
        """Clear rows whose item left the catalogue."""
        self.pairs.clear(rows)
        self.item_counts[rows] = 0

    def state_dict(self) -> dict[str, Any]:
        """Return counts of the rows in use, and the rows not yet published."""
        in_use = np.flatnonzero(self.pairs.items.any(axis=1) | (self.item_counts > 0))
        used = int(in_use.max(initial=0)) + 1
        return {
            "items": self.pairs.items[:used].copy(),
            "counts": self.pairs.counts[:used].copy(),
            "item_counts": self.item_counts[:used].copy(),
            "touched": sorted(self._touched),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        for array, key in (
            (self.pairs.items, "items"),
            (self.pairs.counts, "counts"),
            (self.item_counts, "item_counts"),
        ):
            array[:] = 0
            array[: len(state[key])] = np.asarray(state[key])
        self._touched = set(state["touched"])

    def export(self) -> dict[str, Graph]:
        """Nothing to trace: rows are published as they change."""
        return {}


def taken(batch: Batch) -> tuple[Rows, Rows]:
    """Examples and known items of all positives of a batch. [K], [K]."""
    examples, places = batch.labels.numpy().nonzero()
    targets = batch.candidates.items.numpy()[examples, places]
    return examples[targets > 1], targets[targets > 1]


def newest_distinct_many(histories: Rows, last: int, targets: Rows) -> tuple[Rows, Rows, Rows]:
    """Distinct known items among the newest ``last`` of each history [K, L], but for its own target [K].

    Returns
    -------
    tuple
        Events, their items, and how many known items back each lies (from 0); newest first within an event.

    Examples
    --------
    >>> [part.tolist() for part in newest_distinct_many(np.array([[0, 5, 6, 5]]), last=3, targets=np.array([9]))]
    [[0, 0], [5, 6], [0, 1]]
    """
    newest_first = histories[:, ::-1]  # [K, L]
    known = newest_first > 1
    steps = known.cumsum(axis=1) - 1
    events, columns = np.nonzero(known & (steps < last))
    items, steps = newest_first[events, columns], steps[events, columns]  # [M]
    keys = events * (int(items.max(initial=0)) + 1) + items
    kept = np.sort(np.unique(keys, return_index=True)[1])
    kept = kept[items[kept] != targets[events[kept]]]
    return events[kept], items[kept], steps[kept]


def newest_distinct(history: Rows, last: int, target: int) -> tuple[Rows, Rows]:
    """Items and steps of one history [L]; see :func:`newest_distinct_many`.

    >>> newest_distinct(np.array([0, 5, 6, 5]), last=3, target=9)
    (array([5, 6]), array([0, 1]))
    """
    recent = history[history > 1][-last:][::-1]  # [H] newest first
    _, first = np.unique(recent, return_index=True)
    steps = np.sort(first)
    steps = steps[recent[steps] != target]
    return recent[steps], steps
