"""Permuted language modelling: hidden events are predicted one after the other, in a random order."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from online_models.objectives.exercise import Exercise, Guess, ask_behind, reading
from online_models.objectives.masked import check_shares, cloze
from online_models.sequences import Sequences


@dataclass(frozen=True)
class Permuted:
    """A share of the events is predicted, each from the context and from those of them that a random order puts first.

    Two streams share one encoder by standing side by side, S = 2 T tokens. Content tokens read their event and see the
    contents whose order is not after theirs. Query tokens read [MASK] at the same place and see the contents whose
    order is before theirs. What is not predicted is context: first in the order, and seen by all.

    Parameters
    ----------
    share
        Share of the events that are predicted, last in the order ("partial prediction").
    newest_share
        Share of the histories in which only the newest event is predicted, as in serving.

    References
    ----------
    Z. Yang et al., "XLNet: Generalized Autoregressive Pretraining for Language Understanding", NeurIPS 2019;
    Transformers4Rec, RecSys 2021. What differs: single events are drawn, not spans; a query token also sees itself, so
    that no softmax is empty; positions are those of the encoder, not relative ones.

    Examples
    --------
    >>> from online_models.checks import example_batch
    >>> sequences = Sequences.of_context(example_batch().context)
    >>> Permuted().exercises(sequences, guess=lambda exercise: exercise.items)[0].items.shape
    torch.Size([8, 20])
    """

    share: float = 0.3
    newest_share: float = 0.1

    def __post_init__(self) -> None:
        check_shares(self.share, self.newest_share)

    def exercises(self, sequences: Sequences, guess: Guess) -> list[Exercise]:
        """One exercise of 2 T tokens: contents, then queries."""
        asked = cloze(sequences.target_weights, self.share, self.newest_share)  # [B, T]
        order = asked * (1 + torch.rand(asked.shape, device=asked.device))  # [B, T] 0 for context, else in [1, 2)
        contents = reading(sequences, two_streams(sequences.mask, order))
        queries = replace(
            contents,
            hidden=torch.ones_like(asked),
            targets=sequences.items * asked,
            weights=sequences.target_weights * asked,
        )
        return [_side_by_side(contents, queries)]

    def question(self, sequences: Sequences) -> Exercise:
        """Put a hidden place behind the newest event that sees everything: its state is the answer."""
        return ask_behind(sequences)


def two_streams(mask: Tensor, order: Tensor) -> Tensor:
    """Attention of T contents and T queries in a factorisation ``order`` [B, T] over real events ``mask`` [B, T].

    >>> two_streams(torch.ones(1, 2, dtype=torch.bool), torch.tensor([[0.0, 1.5]])).int()[0, 0].tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]
    """
    own, other = order[:, :, None], order[:, None, :]  # [B, T, 1], [B, 1, T]
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device).expand(len(mask), -1, -1)
    contents = (other <= own) & mask[:, None, :] | itself  # [B, T, T]
    queries = (other < own) & mask[:, None, :]  # [B, T, T]
    allowed = torch.cat(
        [torch.cat([contents, torch.zeros_like(itself)], 2), torch.cat([queries, itself], 2)], 1
    )  # [B, 2 T, 2 T]
    return allowed[:, None]


def _side_by_side(contents: Exercise, queries: Exercise) -> Exercise:
    columns = (field.name for field in fields(Exercise) if field.name != "allowed")
    joined = {name: torch.cat([getattr(contents, name), getattr(queries, name)], -1) for name in columns}
    return Exercise(allowed=contents.allowed, **joined)
