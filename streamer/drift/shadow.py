"""A frozen copy of the ranker, replaced now and then: what the learner must not be worse than."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from online_models.batch import UNKNOWN, Candidates, Context


class Shadow:
    """Scores with weights of earlier; the learner's counts, which are in the candidates, are those of now.

    Parameters
    ----------
    ranker
        What is copied.
    examples
        How old a copy gets before it is replaced.
    """

    def __init__(self, ranker: nn.Module, examples: int) -> None:
        self._ranker, self._examples = ranker, examples
        self._frozen: nn.Module | None = None
        self._taken_at = 0

    @property
    def taken_at(self) -> int:
        """Learned examples at the time of the copy."""
        return self._taken_at

    def refresh(self, learned: int) -> bool:
        """Copy anew where the copy is too old; whether that was done."""
        if self._frozen is not None and learned - self._taken_at < self._examples:
            return False
        self._frozen, self._taken_at = copy.deepcopy(self._ranker).eval(), learned
        return True

    @torch.no_grad()
    def score(self, context: Context, candidates: Candidates) -> Tensor | None:
        """Score candidates [B, N]; None before the first copy."""
        return None if self._frozen is None else self._frozen(context, candidates)

    @torch.no_grad()
    def forget(self, rows: NDArray[np.int64]) -> None:
        """Give rows [K] whose item has left the unknown item's values, as the learner does."""
        tables = [] if self._frozen is None else self._frozen.item_tables()  # type: ignore[operator]
        gone = torch.from_numpy(rows)
        for table in tables:
            table[gone] = table[UNKNOWN].clone()
