"""Training on less than there was: most sessions are sparse, most training targets are not.

Users with long histories have most of the targets, so a model that learns them as they were learns to lean on long
histories. These pure functions make sparse sessions of rich ones. Histories stay right-aligned.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from online_models.batch import Batch
from online_models.sequences import Sequences


def forget_beginnings(sequences: Sequences, share: float, generator: torch.Generator) -> Sequences:
    """In a ``share`` of the histories, start at a random event before the first target; no target is lost.

    Where all events are targets, early ones have short histories already and nothing changes.

    >>> ones = torch.ones(1, 4)
    >>> three = Sequences(
    ...     items=torch.tensor([[5, 6, 7, 8]]), actions=ones.long(), times_seconds=ones.double(),
    ...     users=ones[:, 0].long(),
    ...     target_weights=torch.tensor([[0.0, 0, 0, 1]]), asked_seconds=ones[:, 0].double())
    >>> drawn = [forget_beginnings(three, 1.0, torch.Generator().manual_seed(seed)).items.tolist() for seed in range(9)]
    >>> min(drawn), max(drawn)
    ([[0, 0, 7, 8]], [[5, 6, 7, 8]])

    Raises
    ------
    ValueError
        The share is not between 0 and 1.
    """
    _check(share)
    length = sequences.items.shape[1]
    real, aimed = sequences.mask, sequences.target_weights > 0
    number = real.sum(1)  # [B]
    place = torch.arange(length) - (length - number).unsqueeze(1)  # [B, T] from 0 at the oldest event
    first = torch.where(aimed, place, number.unsqueeze(1)).amin(1)  # [B] place of the first target
    chosen = torch.rand(len(real), generator=generator) < share
    cut = (torch.rand(len(real), generator=generator) * first.clamp(min=1)).long() * chosen  # [B] events to forget
    return _kept(sequences, real & (place >= cut.unsqueeze(1)))


def lose_events(sequences: Sequences, share: float, generator: torch.Generator) -> Sequences:
    """Lose each event but the newest with probability ``share``, as input and as target, and close the gaps.

    >>> three = Sequences(
    ...     items=torch.tensor([[0, 5, 6, 7]]), actions=torch.tensor([[0, 1, 1, 1]]),
    ...     times_seconds=torch.tensor([[0.0, 1.0, 2.0, 3.0]]).double(), target_weights=torch.tensor([[0.0, 0, 1, 1]]),
    ...     users=torch.tensor([0]), asked_seconds=torch.tensor([3.0]).double())
    >>> lose_events(three, 1.0, torch.Generator()).items.tolist()
    [[0, 0, 0, 7]]

    Raises
    ------
    ValueError
        The share is not between 0 and 1.
    """
    _check(share)
    keep = torch.rand(sequences.items.shape, generator=generator) >= share  # [B, T]
    keep[:, -1] = True
    return _kept(sequences, sequences.mask & keep)


def thin_histories(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """Lose each event of the histories with probability ``share``, and close the gaps; candidates and labels stay.

    Raises
    ------
    ValueError
        The share is not between 0 and 1.
    """
    _check(share)
    context = batch.context
    keep = (context.history_items != 0) & (torch.rand(context.history_items.shape, generator=generator) >= share)
    names = ("history_items", "history_actions", "history_ages_seconds")
    return replace(batch, context=replace(context, **{name: _closed(getattr(context, name), keep) for name in names}))


def duration_weights(seconds: Tensor, usual_seconds: float) -> Tensor:
    """Weight of a target that was enjoyed for so long: ``log(1 + t / usual) / log 2``, 1 at the usual length.

    A long play says more than a peek, but ten times as long does not say ten times as much. NaN (no duration) is 1.

    >>> duration_weights(torch.tensor([0.0, 60.0, 180.0, torch.nan]), usual_seconds=60.0)
    tensor([0., 1., 2., 1.])

    Raises
    ------
    ValueError
        ``usual_seconds`` is not above 0.
    """
    if not usual_seconds > 0:
        raise ValueError(f"usual_seconds is {usual_seconds}; give the median duration of the stream, above 0")
    weights = (seconds.clamp(min=0) / usual_seconds).log1p() / math.log(2.0)
    return torch.where(seconds.isnan(), 1.0, weights)


def _kept(sequences: Sequences, keep: Tensor) -> Sequences:
    """Keep events [B, T]; the oldest one left is no target, as nothing stands before it."""
    names = ("items", "actions", "times_seconds", "target_weights")
    closed = {name: _closed(getattr(sequences, name), keep) for name in names}
    follows = torch.zeros_like(keep)
    follows[:, 1:] = closed["items"][:, :-1] != 0
    closed["target_weights"] = closed["target_weights"] * follows
    return replace(sequences, **closed)


def _closed(values: Tensor, keep: Tensor) -> Tensor:
    """Move what is kept to the right, in its order, zeros in front. [B, T]."""
    order = keep.long().argsort(stable=True, dim=1)
    return (values * keep).gather(1, order)


def _check(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"the share is {share}; give a number between 0 and 1, such as 0.2")
