"""Ranking Distillation: the student learns the items at the top of the teacher's list, whatever their scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def position_weights(number: int, steepness: float = 1.0) -> Tensor:
    """``w_k ∝ exp(-k / λ)`` of the places k = 1 … K, summing to 1. [K].

    Raises
    ------
    ValueError
        ``steepness`` (λ) is not above 0.

    Examples
    --------
    >>> position_weights(3)
    tensor([0.6652, 0.2447, 0.0900])
    """
    if steepness <= 0:
        raise ValueError(f"steepness is {steepness}; give a number above 0, such as 1.0")
    return (-torch.arange(1, number + 1) / steepness).softmax(0)


def estimated_ranks(scores: Tensor, sampled_scores: Tensor, items: int) -> Tensor:
    """Place of each score in the student's list of the whole catalogue, from a sample of it.

    ``rank̂ = 1 + ⌊J · share of the sampled items that score higher⌋`` for a catalogue of J items.

    Parameters
    ----------
    scores
        [P, K] of the teacher's items, by the student.
    sampled_scores
        [P, M] of items drawn uniformly, by the student; -inf where one is to be left out.
    items
        J.

    Examples
    --------
    >>> estimated_ranks(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 3.0, 1.0, 1.0]]), items=100)
    tensor([[ 26., 101.]])
    """
    higher = (sampled_scores[:, None, :] > scores[:, :, None]).sum(2)  # [P, K]
    drawn = (sampled_scores > -torch.inf).sum(1, keepdim=True).clamp(min=1)  # [P, 1]
    return 1 + (items * higher / drawn).floor()


def dynamic_weights(ranks: Tensor, steepness: float = 0.1) -> Tensor:
    """``max(0, tanh(μ (rank̂_k - k)))``: what the student ranks lower than the teacher does. [P, K].

    >>> dynamic_weights(torch.tensor([[1.0, 1.0, 1000.0]])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    places = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)  # [K]
    return (steepness * (ranks - places)).tanh().clamp(min=0)


def ranking_loss(
    scores: Tensor,
    mask: Tensor,
    *,
    position_steepness: float = 1.0,
    ranks: Tensor | None = None,
    rank_steepness: float = 0.1,
) -> Tensor:
    """``Σ_k w_k · (- log σ(s_k))`` over the teacher's best K items, mean over the lists that have one.

    With ``ranks`` the weight is the hybrid one: position weight times dynamic weight, scaled to sum 1 in each list.

    Parameters
    ----------
    scores
        [P, K] of the teacher's items by the student, best of the teacher's first.
    mask
        [P, K] False where the list has no item, or has the target, which the hard label teaches.
    position_steepness
        λ of :func:`position_weights`.
    ranks
        [P, K] places of the items in the student's list, see :func:`estimated_ranks`; None for position weights alone.
    rank_steepness
        μ of :func:`dynamic_weights`.

    References
    ----------
    J. Tang, K. Wang, "Ranking Distillation: Learning Compact Ranking Models With High Performance for Recommender
    System", KDD 2018. What differs: the student learns from a stream, so the dynamic weight is switched on by the
    caller where it wants it and not at a tenth epoch.

    Examples
    --------
    >>> ranking_loss(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
    tensor(0.6931)
    >>> ranking_loss(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    tensor(0.)
    """
    weights = position_weights(scores.shape[1], position_steepness).to(scores.device) * mask  # [P, K]
    if ranks is not None:
        weights = weights * dynamic_weights(ranks, rank_steepness)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    losses = -(weights * F.logsigmoid(scores.masked_fill(~mask, 0))).sum(1)  # [P]
    return losses.sum() / mask.any(1).sum().clamp(min=1)
