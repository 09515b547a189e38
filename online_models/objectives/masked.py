"""Masked language modelling (cloze): some events are hidden and predicted from both sides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from online_models.objectives.exercise import Exercise, Guess, ask_behind, attention, reading
from online_models.sequences import Sequences


@dataclass(frozen=True)
class Masked:
    """A share of the events is hidden and predicted from all that is left, on both sides.

    Parameters
    ----------
    share
        Probability ρ that an event is hidden.
    newest_share
        Share of the histories in which only the newest event is hidden, as in serving.

    References
    ----------
    F. Sun et al., "BERT4Rec", CIKM 2019. G. de Souza Pereira Moreira et al., "Transformers4Rec", RecSys 2021.

    Examples
    --------
    >>> from online_models.checks import example_batch
    >>> sequences = Sequences.of_context(example_batch().context)
    >>> asked = Masked().question(sequences)  # one hidden place behind the history
    >>> asked.items.shape, asked.hidden[0, -2:].tolist()
    (torch.Size([8, 11]), [False, True])
    """

    share: float = 0.3
    newest_share: float = 0.1

    def __post_init__(self) -> None:
        check_shares(self.share, self.newest_share)

    def exercises(self, sequences: Sequences, guess: Guess) -> list[Exercise]:
        """One exercise: the hidden places predict their own event."""
        hidden = cloze(sequences.target_weights, self.share, self.newest_share)  # [B, T]
        return [
            reading(
                sequences,
                attention(sequences.mask),
                hidden=hidden,
                targets=sequences.items * hidden,
                weights=sequences.target_weights * hidden,
            )
        ]

    def question(self, sequences: Sequences) -> Exercise:
        """Put a hidden place behind the newest event: its state is the answer."""
        return ask_behind(sequences)


def cloze(weights: Tensor, share: float, newest_share: float) -> Tensor:
    """Choose what to hide among the events with a target weight, ``weights`` [B, T] -> [B, T] bool.

    Each with probability ``share``, at least one of a history that has any; in ``newest_share`` of the histories the
    newest alone, if it has a weight.

    >>> cloze(torch.tensor([[0.0, 1.0, 1.0]]), share=0.0, newest_share=1.0).tolist()
    [[False, False, True]]
    """
    eligible = weights > 0  # [B, T]
    draws = torch.rand(weights.shape, device=weights.device).masked_fill(~eligible, 2.0)
    hidden = (draws < share) | (draws == draws.amin(1, keepdim=True))  # [B, T]
    as_served = (torch.rand(len(weights), 1, device=weights.device) < newest_share) & eligible[:, -1:]  # [B, 1]
    newest = torch.zeros_like(eligible)
    newest[:, -1] = True
    return torch.where(as_served, newest, hidden) & eligible


def check_shares(share: float, newest_share: float) -> None:
    """Both are probabilities.

    Raises
    ------
    ValueError
        One is not in [0, 1].
    """
    if not (0 <= share <= 1 and 0 <= newest_share <= 1):
        raise ValueError(f"share {share} and newest_share {newest_share} are probabilities; give each within [0, 1]")
