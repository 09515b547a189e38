"""Causal language modelling: every event predicts the one behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from online_models.objectives.exercise import Exercise, Guess, attention, reading
from online_models.sequences import Sequences


@dataclass(frozen=True)
class Causal:
    """Every event sees itself and what lies before it, and predicts the next: ``p(i_{t+1} | i_1 … i_t)``.

    Examples
    --------
    >>> from online_models.checks import example_batch
    >>> sequences = Sequences.of_context(example_batch().context)
    >>> Causal().question(sequences).allowed.shape
    torch.Size([8, 1, 10, 10])
    """

    def exercises(self, sequences: Sequences, guess: Guess) -> list[Exercise]:
        """One exercise over all but the newest event: targets are the events one to the right."""
        known = sequences.without_newest()  # [B, T - 1]
        targets, weights = sequences.items[:, 1:], sequences.target_weights[:, 1:]
        return [reading(known, _past(known.mask), targets=targets, weights=weights)]

    def question(self, sequences: Sequences) -> Exercise:
        """Read the history; its newest event's state is the answer."""
        return reading(sequences, _past(sequences.mask))


def _past(mask: Tensor) -> Tensor:
    length = mask.shape[1]
    return attention(mask, torch.ones(length, length, dtype=torch.bool, device=mask.device).tril())
