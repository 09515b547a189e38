"""Batches that have been learnt by their hard labels and wait for their soft ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import Batch
from streamer.examples import Example
from streamer.flat_batches import flat, unflat, without


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A batch as it was when it was learnt: the counts have seen its outcomes since, so it is not built again."""

    batch: Batch
    example_ids: list[str]
    published_ms: list[int]  # of the events that caused the examples
    since_ms: int  # wall clock of its hard step


class WaitingBatches:
    """Bounded queue of batches; one leaves when its labels are there or its time is over.

    Parameters
    ----------
    most
        Examples; where more come, the oldest batches leave with the labels that are there.
    wait_seconds
        A batch leaves after this time at the latest.
    """

    def __init__(self, most: int, wait_seconds: float) -> None:
        self.most, self.wait_ms = most, round(wait_seconds * 1_000)
        self._queue: deque[Waiting] = deque()

    def __len__(self) -> int:
        """Return how many batches wait."""
        return len(self._queue)

    @property
    def examples(self) -> int:
        """How many examples wait."""
        return sum(len(one.example_ids) for one in self._queue)

    def add(self, batch: Batch, examples: list[Example], now_ms: int) -> None:
        """Let the batch of these examples wait."""
        self._queue.append(
            Waiting(
                batch=batch,
                example_ids=[example.example_id for example in examples],
                published_ms=[example.published_time_ms for example in examples],
                since_ms=now_ms,
            )
        )

    def take(self, labels: Container[str], now_ms: int, most: int) -> list[Waiting]:
        """Remove and return up to ``most`` batches that are complete, overdue or too many, oldest first."""
        taken: list[Waiting] = []
        kept: deque[Waiting] = deque()
        crowd = self.examples - self.most  # examples to be rid of, from the oldest on
        for one in self._queue:
            crowded = crowd > 0
            crowd -= len(one.example_ids)
            complete = all(example_id in labels for example_id in one.example_ids)
            leaves = crowded or complete or now_ms - one.since_ms >= self.wait_ms
            if leaves and (len(taken) < most or crowded):
                taken.append(one)
            else:
                kept.append(one)
        self._queue = kept
        return taken

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Blank the rows of items that have left."""
        gone = torch.from_numpy(rows)
        self._queue = deque(replace(one, batch=without(one.batch, gone)) for one in self._queue)

    def state_dict(self) -> dict[str, Any]:
        """Everything that waits."""
        return {
            "batches": [flat(one.batch) for one in self._queue],
            "example_ids": [one.example_ids for one in self._queue],
            "published_ms": [np.array(one.published_ms, np.int64) for one in self._queue],
            "since_ms": [one.since_ms for one in self._queue],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        columns = (state["batches"], state["example_ids"], state["published_ms"], state["since_ms"])
        self._queue = deque(
            Waiting(
                batch=unflat(tensors),
                example_ids=list(ids),
                published_ms=np.asarray(published_ms).tolist(),
                since_ms=since_ms,
            )
            for tensors, ids, published_ms, since_ms in zip(*columns, strict=True)
        )
