"""Replaced token detection: hidden events are guessed, then every event is judged to be real or guessed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from online_models.objectives.exercise import Exercise, Guess, ask_behind, attention, reading
from online_models.objectives.masked import Masked, check_shares
from online_models.sequences import Sequences


@dataclass(frozen=True)
class ReplacedToken:
    """Learn a cloze, fill its gaps with the encoder's own guesses, and tell in a second pass which events those are.

    ``loss = cloze + detection_weight · BCE(replaced | the filled history)``, the second term over every real event. So
    each position teaches, not the hidden share alone. A guess that happens to be right counts as real.

    Parameters
    ----------
    share, newest_share
        Of the cloze, see :class:`~online_models.objectives.masked.Masked`.
    detection_weight
        Weight of telling real events from replaced ones.

    References
    ----------
    K. Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020;
    Transformers4Rec, RecSys 2021. What differs: one encoder is both generator and discriminator.

    Examples
    --------
    >>> from online_models.checks import example_batch
    >>> context = Sequences.of_context(example_batch().context)
    >>> sequences = replace(context, target_weights=context.mask.float())
    >>> _, judged = ReplacedToken().exercises(sequences, guess=lambda exercise: exercise.items * 0 + 63)
    >>> bool((judged.items[judged.replaced] == 63).all()), bool(judged.hidden.any())
    (True, False)
    """

    share: float = 0.3
    newest_share: float = 0.1
    detection_weight: float = 1.0

    def __post_init__(self) -> None:
        check_shares(self.share, self.newest_share)

    def exercises(self, sequences: Sequences, guess: Guess) -> list[Exercise]:
        """Give the cloze, then the filled history to be judged."""
        (masked,) = Masked(self.share, self.newest_share).exercises(sequences, guess)
        filled = torch.where(masked.hidden, guess(masked), sequences.items)  # [B, T]
        judged = replace(
            reading(sequences, attention(sequences.mask)),
            items=filled,
            replaced=filled != sequences.items,
            judged_weights=self.detection_weight * sequences.mask,
        )
        return [masked, judged]

    def question(self, sequences: Sequences) -> Exercise:
        """Put a hidden place behind the newest event: its state is the answer."""
        return ask_behind(sequences)
