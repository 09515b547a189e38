"""What an objective returns: tokens to read, who may see whom, and what to predict where.

Notation as in :mod:`online_models.sequences`; S is the number of tokens, which an objective may make larger than T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from online_models.sequences import Sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class Exercise:
    """One pass through an encoder. Where nothing is asked, targets and weights are 0."""

    items: Tensor  # [B, S] int64 rows that are read
    actions: Tensor  # [B, S] int64
    gaps_seconds: Tensor  # [B, S] float32 since the event before, 0 where there is none
    steps_back: Tensor  # [S] int64 how far before the newest place each token stands; 0 is the newest
    hidden: Tensor  # [B, S] True where the encoder reads [MASK] in place of the whole event
    allowed: Tensor  # [B, 1, S, S] True where the token of the row may attend to that of the column
    targets: Tensor  # [B, S] int64 item to be predicted from each token's state
    weights: Tensor  # [B, S] float32 how much that counts
    replaced: Tensor  # [B, S] True where the item that is read is not the one that was there
    judged_weights: Tensor  # [B, S] float32 how much it counts to tell which are replaced


# the items that the encoder itself would put at an exercise's places, drawn at random. [B, S]
Guess = Callable[[Exercise], Tensor]


class Objective(Protocol):
    """How histories become exercises in training, and how the next item is asked for in serving.

    Random numbers come from torch's global generator, which the learner seeds. What is predicted at a place is never
    visible to the state that predicts it. Only places with a target weight are asked about.
    """

    def exercises(self, sequences: Sequences, guess: Guess) -> list[Exercise]:
        """Exercises to be learnt from, whose losses are added up."""
        ...

    def question(self, sequences: Sequences) -> Exercise:
        """Ask for what follows the newest event: the answer is the state of the last token.

        The tokens are the history's columns in their order, then any that the objective adds.
        """
        ...


def reading(
    sequences: Sequences,
    allowed: Tensor,
    *,
    hidden: Tensor | None = None,
    targets: Tensor | None = None,
    weights: Tensor | None = None,
) -> Exercise:
    """Read a history as it stands, [MASK] where ``hidden`` [B, T]; predict ``targets`` [B, T] where given."""
    nowhere = torch.zeros_like(sequences.mask)  # [B, T]
    return Exercise(
        items=sequences.items,
        actions=sequences.actions,
        gaps_seconds=gaps_seconds(sequences),
        steps_back=steps_back(sequences.items.shape[1], sequences.items.device),
        hidden=nowhere if hidden is None else hidden,
        allowed=allowed,
        targets=torch.zeros_like(sequences.items) if targets is None else targets,
        weights=torch.zeros_like(sequences.target_weights) if weights is None else weights,
        replaced=nowhere,
        judged_weights=torch.zeros_like(sequences.target_weights),
    )


def ask_behind(sequences: Sequences) -> Exercise:
    """Put a hidden place behind the newest event that sees everything. [B, T] -> S = T + 1."""
    longer = Sequences(
        items=F.pad(sequences.items, (0, 1)),  # [B, T + 1]
        actions=F.pad(sequences.actions, (0, 1)),
        times_seconds=F.pad(sequences.times_seconds, (0, 1)),
        target_weights=F.pad(sequences.target_weights, (0, 1)),
        users=sequences.users,
        asked_seconds=sequences.asked_seconds,
    )
    hidden = F.pad(torch.zeros_like(sequences.mask), (0, 1), value=True)  # [B, T + 1]
    return reading(longer, attention(longer.mask), hidden=hidden)


def attention(mask: Tensor, before: Tensor | None = None) -> Tensor:
    """Attend to real events, ``mask`` [B, S], where ``before`` [S, S] or [B, S, S] allows it -> [B, 1, S, S].

    Every token may see itself, so no row is empty: a softmax over nothing would be NaN.

    >>> attention(torch.tensor([[False, True, True]])).int().tolist()
    [[[[1, 1, 1], [0, 1, 1], [0, 1, 1]]]]
    """
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    keys = mask[:, None, :]  # [B, 1, S]
    allowed: Tensor = (keys if before is None else keys & before) | itself  # [B, S, S]
    return allowed[:, None]


def steps_back(length: int, device: torch.device | None = None) -> Tensor:
    """Distance from the newest place. [S].

    >>> steps_back(3).tolist()
    [2, 1, 0]
    """
    return torch.arange(length - 1, -1, -1, device=device)


def gaps_seconds(sequences: Sequences) -> Tensor:
    """Seconds since the event before; 0 for the first, and where padded. [B, T]."""
    times = sequences.times_seconds
    gaps = F.pad(times[:, 1:] - times[:, :-1], (1, 0))  # [B, T]
    follows = F.pad(sequences.mask[:, :-1], (1, 0)) & sequences.mask
    return (gaps * follows).clamp(min=0).float()
