"""The latest tested examples, as the gate judges versions by them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from exporters.gate import RecentExamples
from online_models.batch import Batch

EXAMPLES = 256
_BY_CANDIDATE = ("source_scores", "candidate_features")
Arrays = dict[str, NDArray[Any]]


class RecentWindow:
    """Keeps the latest micro-batches that were tested before they were learnt, without their item vectors.

    A micro-batch of a quiet stream is too small to tell two versions apart; the window is not.

    Parameters
    ----------
    examples
        So many are kept, give or take a micro-batch.
    """

    def __init__(self, examples: int = EXAMPLES) -> None:
        self._examples = examples
        self._parts: deque[Arrays] = deque()
        self._held = 0

    def add(self, batch: Batch, inputs: dict[str, Tensor]) -> None:
        """Take a tested batch with the inputs of its graph, but for the item vectors."""
        part = {name: value.numpy().copy() for name, value in inputs.items()}
        part |= {f"rows:{name}": found.copy() for name, found in vector_rows(batch).items()}
        part |= {"labels": batch.labels.numpy().copy(), "mask": batch.offered.numpy().copy()}
        self._parts.append(part)
        self._held += len(batch.labels)
        while len(self._parts) > 1 and self._held - len(self._parts[0]["labels"]) >= self._examples:
            self._held -= len(self._parts.popleft()["labels"])

    def read(self, vectors: NDArray[np.float32]) -> RecentExamples | None:
        """Return the examples with the item vectors [R, D] as they are now; None before the first."""
        if not self._parts:
            return None
        most = max(part["mask"].shape[1] for part in self._parts)
        joined = {
            name: np.concatenate([_widened(name, part[name], most) for part in self._parts]) for name in self._parts[0]
        }
        labels, mask = joined.pop("labels"), joined.pop("mask")
        rows = {name.removeprefix("rows:"): joined.pop(name) for name in list(joined) if name.startswith("rows:")}
        recent = RecentExamples(feeds=joined, labels=labels, mask=mask, rows=rows)
        return RecentExamples(feeds=recent.feeds_with(vectors), labels=labels, mask=mask, rows=rows)


def vector_rows(batch: Batch) -> dict[str, NDArray[np.int64]]:
    """Catalogue rows behind each input that holds item vectors."""
    return {
        "history_vectors": batch.context.history_items.numpy(),  # [B, L]
        "candidate_vectors": batch.candidates.items.numpy(),  # [B, N]
        "source_vector": batch.context.source_item.numpy(),  # [B]
    }


def _widened(name: str, array: NDArray[Any], candidates: int) -> NDArray[Any]:
    """Pad what runs over candidates, [B, N, ...] -> [B, ``candidates``, ...]."""
    if name not in (*_BY_CANDIDATE, "labels", "mask", "rows:candidate_vectors"):
        return array
    missing = candidates - array.shape[1]
    return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)]) if missing else array
