"""What a gain by distillation may be without the teacher knowing anything: smoothing, re-weighting, geometry.

Three parts of a soft label are told apart, each as a loss or a label of its own [1]_: mass away from the target
(:func:`smoothed_list_loss`), weight by how sure the teacher is of the target (:func:`confidence_weights`), and which
items resemble which (:func:`relation_labels`). :func:`spread_list_loss` keeps the teacher's best few items and spreads
what is left evenly.

References
----------
.. [1] J. Tang et al., "Understanding and Improving Knowledge Distillation", 2020. What differs: lists of a catalogue in
   place of a few classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def smoothed_list_loss(logits: Tensor, mask: Tensor, log_q: Tensor | None = None) -> Tensor:
    """Cross-entropy of the uniform distribution: the part that label smoothing adds to the hard loss.

    ``- mean_j log softmax(z - log q)_j``, the mean over the candidates that ``mask`` names; mean over the lists.

    >>> smoothed_list_loss(torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool))
    tensor(1.3863)
    """
    corrected = logits if log_q is None else logits - log_q  # [B, N]
    normaliser = corrected.masked_fill(~mask, -torch.inf).logsumexp(1, keepdim=True)  # [B, 1]
    losses = ((normaliser - logits) * mask).sum(1) / mask.sum(1).clamp(min=1)  # [B]
    return losses.mean()


def confidence_weights(teacher_shares: Tensor, floor: float = 1e-4) -> Tensor:
    """Weights of the hard loss by the teacher's share of the target, with mean 1. [P].

    >>> confidence_weights(torch.tensor([0.3, 0.1]))
    tensor([1.5000, 0.5000])
    """
    shares = teacher_shares.clamp(min=floor)
    return shares / shares.mean().clamp(min=floor)


def target_shares(items: Tensor, teacher_logits: Tensor, remainder: Tensor, others: Tensor, targets: Tensor) -> Tensor:
    """Teacher's share of the target, as far as a bounded label tells: an even part of the remainder if not kept. [P].

    Parameters
    ----------
    items, teacher_logits
        [P, K] kept items and their logits.
    remainder, others
        [P] log of the summed exponentials of the other items, and how many they are.
    targets
        [P] items that were taken.

    Examples
    --------
    >>> kept, even = torch.tensor([[7], [7]]), torch.zeros(2, 1)
    >>> target_shares(kept, even, torch.zeros(2), torch.tensor([5, 5]), torch.tensor([7, 8]))
    tensor([0.5000, 0.1000])
    """
    shares = torch.cat([teacher_logits, remainder[:, None]], 1).softmax(1)  # [P, K + 1]
    found = items == targets[:, None]  # [P, K]
    told = (shares[:, :-1] * found).sum(1)  # [P]
    return torch.where(found.any(1), told, shares[:, -1] / others.clamp(min=1))


def spread_list_loss(logits: Tensor, teacher_logits: Tensor, remainder: Tensor, mask: Tensor) -> Tensor:
    """KD-topk: the teacher's kept items as they are, the remainder spread evenly over the other candidates.

    Parameters
    ----------
    logits, teacher_logits, remainder, mask
        As in :func:`~online_models.distill.direct.soft_list_loss`.

    Examples
    --------
    >>> teacher = torch.tensor([[0.0, torch.nan, torch.nan]])
    >>> spread_list_loss(torch.zeros(1, 3), teacher, torch.tensor([0.6931]), torch.ones(1, 3, dtype=torch.bool))
    tensor(1.0986)
    """
    kept = mask & ~teacher_logits.isnan()  # [B, N]
    others = mask & ~kept
    shares = torch.cat([teacher_logits.masked_fill(~kept, -torch.inf), remainder[:, None]], 1)  # [B, N + 1]
    told = kept.any(1)  # [B]
    shares = shares.masked_fill(~told[:, None], 0).softmax(1)  # [B, N + 1]
    targets = shares[:, :-1] * kept + others * (shares[:, -1] / others.sum(1).clamp(min=1))[:, None]  # [B, N]
    log_shares = logits.masked_fill(~mask, -torch.inf).masked_fill(~told[:, None], 0).log_softmax(1)
    losses = -(targets * log_shares.masked_fill(~mask, 0)).sum(1)  # [B]
    return (losses * told).sum() / told.sum().clamp(min=1)


def relation_labels(
    item_vectors: Tensor, targets: Tensor, number: int, *, temperature: float = 0.1
) -> tuple[Tensor, Tensor, Tensor]:
    """KD-sim: a soft label of the target alone, the items that the teacher's table holds to be like it.

    ``t_j = cos(e_target, e_j) / T`` over the items that have a vector: the same for every user who takes the item.

    Parameters
    ----------
    item_vectors
        [R, D] of the teacher; rows of zeros are no items.
    targets
        [P] rows.
    number
        Items to keep.
    temperature
        T.

    Returns
    -------
    tuple
        Kept items [P, K], their logits [P, K], and the remainder [P].

    Examples
    --------
    >>> table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    >>> relation_labels(table, torch.tensor([1]), 2)[0].tolist()
    [[1, 2]]
    """
    unit = F.normalize(item_vectors, dim=1)  # [R, D]
    logits = unit[targets] @ unit.T / temperature  # [P, R]
    logits = logits.masked_fill(item_vectors.eq(0).all(1), -torch.inf)
    best = logits.topk(min(number, logits.shape[1]), dim=1)
    rest = logits.scatter(1, best.indices, -torch.inf).logsumexp(1)  # [P]
    return best.indices, best.values, rest
