"""Test then learn: where the item that was taken stood, just before it was learnt, over the latest examples."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

from online_models.batch import Batch

DEPTH = 10


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
        """``hr@10`` and ``ndcg@10`` of every scorer: ``{"hr@10:served": …}``; empty before anything was observed."""
        values: dict[str, float] = {}
        for name, ranks in self._ranks.items():
            if ranks:
                array = np.array(ranks)
                hits = array <= DEPTH
                values[f"hr@{DEPTH}:{name}"] = float(hits.mean())
                values[f"ndcg@{DEPTH}:{name}"] = float((hits / np.log2(array + 1.0)).mean())
        return values


def ranks_of_taken(batch: Batch, scores: Tensor) -> list[int]:
    """Rank of the item taken in each example with exactly one; a number past every list where it was not retrieved."""
    retrieved = batch.candidates.mask & (batch.log_q == 0)  # [B, N] uniform negatives are no candidates
    known = (batch.candidates.source_scores > 0).any(-1)  # [B, N]
    one = batch.labels.sum(1) == 1  # [B]
    place = batch.labels.argmax(1)  # [B]
    own = scores.gather(1, place[:, None])  # [B, 1]
    ahead = ((scores >= own) & retrieved).sum(1)  # [B]
    found = known.gather(1, place[:, None]).squeeze(1)
    ranks = torch.where(found, ahead.clamp(min=1), 10**6)
    result: list[int] = ranks[one].tolist()
    return result
