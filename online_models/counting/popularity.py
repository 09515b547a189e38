"""Popularity with a half-life in event time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import Batch, Candidates, Context
from online_models.counting.pairs import taken
from online_models.learner import Graph

Rows = NDArray[np.int64]


class Popularity:
    """How often an item was taken lately: ``p_j = Σ_events 2^(−(now − t) / half_life)``, as a share of all.

    Increments grow with event time instead of decaying every count (``2^(t / half_life)``), so an event costs one
    addition; the counts are scaled back before they overflow.

    Parameters
    ----------
    rows
        Rows of the catalogue.
    half_life_days
        Days of event time after which an event counts half.
    width
        Length of the list that is read and published.

    Examples
    --------
    >>> popularity = Popularity(rows=8, half_life_days=1)
    >>> popularity.observe(3, time_seconds=0.); popularity.observe(2, time_seconds=2 * 86_400.)
    >>> popularity.best(0, 2)[0].tolist(), float(popularity.counts[2] / popularity.counts[3])
    ([2, 3], 4.0)
    """

    name = "popularity"
    law_exceptions = {
        "learn_lowers_loss": "a counting learner has no loss",
        "graphs_agree": "a counting learner publishes rows, not a graph",
    }

    def __init__(self, rows: int = 20_000, half_life_days: float = 7.0, width: int = 500) -> None:
        self.half_life_seconds = half_life_days * 86_400
        self.counts = np.zeros(rows, np.float64)  # [R], in units of 2^((now - origin) / half_life)
        self.origin_seconds: float | None = None
        self.width = width
        self._changed = False
        self._list: tuple[NDArray[np.int32], NDArray[np.float32]] | None = None

    def learn(self, batch: Batch) -> dict[str, float]:
        """Count every positive of the batch."""
        examples, targets = taken(batch)
        times_seconds = batch.context.time_seconds.numpy()[examples]
        for target, time_seconds in zip(targets.tolist(), times_seconds.tolist(), strict=True):
            self.observe(target, time_seconds)
        return {"counted": float(len(targets))}

    def observe(self, target: int, time_seconds: float) -> None:
        """Count one event on ``target``."""
        if self.origin_seconds is None:
            self.origin_seconds = time_seconds
        halvings = (time_seconds - self.origin_seconds) / self.half_life_seconds
        if halvings > 60:
            self.counts *= 0.5**halvings
            self.origin_seconds, halvings = time_seconds, 0.0
        self.counts[target] += 2.0**halvings
        self._changed, self._list = True, None

    def lookup(self, rows: Rows) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the one list for everybody, once per asked row -> [H, M], [H, M]."""
        items, shares = self.best(0, self.width)
        return np.broadcast_to(items, (len(rows), len(items))), np.broadcast_to(shares, (len(rows), len(items)))

    def best(self, row: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the ``width`` most popular items with their shares, best first."""
        if self._list is None:
            order = np.flatnonzero(self.counts > 0)
            order = order[np.argsort(-self.counts[order], kind="stable")][: self.width]
            shares = self.counts[order] / max(float(self.counts.sum()), 1e-300)
            self._list = order.astype(np.int32), shares.astype(np.float32)
        return self._list[0][:width], self._list[1][:width]

    def score(self, context: Context, candidates: Candidates) -> Tensor:
        """Return the share of each candidate -> [B, N]."""
        shares = self.counts / max(float(self.counts.sum()), 1e-300)
        items = candidates.items.numpy()
        return torch.from_numpy(np.where(items > 1, shares[items], 0).astype(np.float32))

    def touched(self) -> list[int]:
        """Row 0 when anything changed since the last call: there is one list."""
        changed, self._changed = self._changed, False
        return [0] if changed else []

    def forget(self, rows: Rows) -> None:
        """Clear rows whose item left the catalogue."""
        self.counts[rows] = 0
        self._list = None

    def state_dict(self) -> dict[str, Any]:
        """Return counts and their origin."""
        return {"counts": self.counts.copy(), "origin_seconds": self.origin_seconds, "changed": self._changed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.counts, self.origin_seconds = np.array(state["counts"]), state["origin_seconds"]
        self._changed, self._list = bool(state["changed"]), None

    def export(self) -> dict[str, Graph]:
        """Nothing to trace: the list is published as a row."""
        return {}
