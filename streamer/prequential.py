"""Test then learn: where the item that was taken stood, just before it was learnt, over the latest examples."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

from online_models.batch import Batch

DEPTH = 10
SERVED = "served"  # the scorer whose figures carry no prefix


class Prequential:
    """Hit rate and NDCG at 10 of several scorers over a sliding window of examples.

    The item taken is ranked among the candidates that serving would have retrieved; an item that no source retrieved is
    a miss, and ties count against the scorer.

    Parameters
    ----------
    window
        How many of the latest examples count.
    """

    def __init__(self, window: int = 5_000) -> None:
        self._ranks: dict[str, deque[int]] = {}
        self._window = window

    def observe(self, batch: Batch, scores: dict[str, Tensor]) -> None:
        """Take the ranks from every scorer's scores [B, N]."""
        ranks = {name: ranks_of_taken(batch, score) for name, score in scores.items()}
        for name, found in ranks.items():
            self._ranks.setdefault(name, deque(maxlen=self._window)).extend(found)

    def read(self) -> dict[str, float]:
        """``hr@10`` and ``ndcg@10`` of what is served, ``item_knn_hr@10`` … of the others; empty at the start."""
        values: dict[str, float] = {}
        for name, ranks in self._ranks.items():
            if ranks:
                array = np.array(ranks)
                hits = array <= DEPTH
                prefix = "" if name == SERVED else f"{name}_"
                values[f"{prefix}hr@{DEPTH}"] = float(hits.mean())
                values[f"{prefix}ndcg@{DEPTH}"] = float((hits / np.log2(array + 1.0)).mean())
        return values


def ranks_of_taken(batch: Batch, scores: Tensor) -> list[int]:
    """Rank of the item taken in each example with exactly one; a number past every list where it was not retrieved."""
    offered = batch.offered  # [B, N]
    one = batch.labels.sum(1) == 1  # [B]
    place = batch.labels.argmax(1, keepdim=True)  # [B, 1]
    ahead = ((scores >= scores.gather(1, place)) & offered).sum(1)  # [B]
    found = offered.gather(1, place).squeeze(1)
    ranks = torch.where(found, ahead, 10**6)
    result: list[int] = ranks[one].tolist()
    return result
