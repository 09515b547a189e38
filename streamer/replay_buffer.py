"""Replay of older windows: batches seen before are learnt again, so that a burst does not overwrite what was known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import Batch
from streamer.flat_batches import flat, unflat, without


class ReplayBuffer:
    """A uniform sample (reservoir) of the past's batches, with their candidates and scores as they were then.

    Scores must not be computed again: the counts have seen those outcomes in the meantime.

    Parameters
    ----------
    share
        Chance that a new batch is followed by an old one.
    batches
        How many batches are kept.
    seed
        Of the draws.
    """

    def __init__(self, share: float, batches: int = 16, seed: int = 0) -> None:
        self.share, self.capacity = share, batches
        self._batches: list[Batch] = []
        self._seen = 0
        self._generator = torch.Generator().manual_seed(seed)

    def exchange(self, batch: Batch) -> Batch | None:
        """Offer a batch to the reservoir; returns an older one to learn again, or None."""
        if self.share == 0:
            return None
        old = None
        if self._batches and self._draw() < self.share:
            old = self._batches[int(self._draw() * len(self._batches))]
        self._seen += 1
        if len(self._batches) < self.capacity:
            self._batches.append(batch)
        elif self._draw() < self.capacity / self._seen:
            self._batches[int(self._draw() * self.capacity)] = batch
        return old

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Blank the rows of items that have left: whoever gets such a row must not learn what they did."""
        gone = torch.from_numpy(rows)
        self._batches = [without(batch, gone) for batch in self._batches]

    def _draw(self) -> float:
        return float(torch.rand((), generator=self._generator))

    def state_dict(self) -> dict[str, Any]:
        """Batches as flat tensors, counters and the state of the generator."""
        return {
            "batches": [flat(batch) for batch in self._batches],
            "seen": self._seen,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._batches = [unflat(named) for named in state["batches"]]
        self._seen = state["seen"]
        self._generator.set_state(torch.as_tensor(np.asarray(state["generator"]), dtype=torch.uint8))
