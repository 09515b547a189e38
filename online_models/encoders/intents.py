"""What a user is about to do, predicted beside the item and fed back into the encoder that predicts the item.

An *intent* is a question with few answers: which action comes next, which categories, how old the item will be, whether
it is something again or something new. Labels are always ``[..., classes]``; a row of zeros means that nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.vocabulary import AGE_EDGES_DAYS, FAMILIARITIES

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One question about the next event.

    Parameters
    ----------
    name
        Of the question; graphs call its output ``intent_<name>``.
    classes
        Number of answers.
    several
        Whether several answers may be right at once: sigmoids and binary cross-entropy instead of a softmax.

    Examples
    --------
    >>> intent = Intent(name="genre", classes=2, several=True)
    >>> intent.probabilities(torch.zeros(1, 2)), intent.losses(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    (tensor([[0.5000, 0.5000]]), tensor([1.3863]))
    >>> intent.losses(torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([0.])
    """

    name: str
    classes: int
    several: bool = False

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability of every answer. [..., C]."""
        return logits.sigmoid() if self.several else logits.softmax(-1)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of every example, 0 where the answer is not known. [..., C] -> [...]."""
        if self.several:
            each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(-1)  # [...]
            return each * (labels.sum(-1) > 0)
        share = labels / labels.sum(-1, keepdim=True).clamp(min=1)  # [..., C]
        return -(share * logits.log_softmax(-1)).sum(-1)


class IntentVector(nn.Module):
    """All intents in one vector: ``Z = Σ_i a_i Proj_i(p_i)`` with ``a = softmax_i(w · Proj_i(p_i))``.

    Parameters
    ----------
    classes
        Number of answers of each intent.
    dimension
        D.

    References
    ----------
    IntentRec (Netflix, 2408.05353), section on the intent encoder.

    Examples
    --------
    >>> feed = IntentVector([2, 3], dimension=4)
    >>> feed([torch.ones(5, 2), torch.ones(5, 3)]).shape
    torch.Size([5, 4])
    """

    def __init__(self, classes: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(count, dimension) for count in classes)
        self.attention = nn.Linear(dimension, 1)

    def forward(self, probabilities: list[Tensor]) -> Tensor:
        """Mix the intents' probabilities, each [..., C_i] -> [..., D]."""
        parts = [project(given) for project, given in zip(self.projections, probabilities, strict=True)]
        stacked = torch.stack(parts, -2)  # [..., I, D]
        mixed: Tensor = (self.attention(stacked).softmax(-2) * stacked).sum(-2)  # [..., D]
        return mixed


def age_labels(ages_seconds: Tensor) -> Tensor:
    """One-hot bucket of how old an item is when it is taken, zeros where its age is not finite. [...] -> [..., 8].

    >>> age_labels(torch.tensor([3600.0, 86_400.0 * 40, torch.inf])).argmax(-1).tolist()
    [0, 3, 0]
    >>> age_labels(torch.tensor([torch.inf])).sum().item()
    0.0
    """
    known = ages_seconds.isfinite()
    days = torch.where(known, ages_seconds, 0).float() / SECONDS_A_DAY
    buckets = torch.bucketize(days, torch.tensor(AGE_EDGES_DAYS, device=days.device), right=True)
    return F.one_hot(buckets, len(AGE_EDGES_DAYS) + 1).float() * known.unsqueeze(-1)


def familiarity_labels(again: Tensor, kin: Tensor, known: Tensor) -> Tensor:
    """One-hot of "again", "kin" (it shares a category with the event before) or "new". [...] bool -> [..., 3].

    >>> yes, no = torch.tensor([True]), torch.tensor([False])
    >>> [FAMILIARITIES[familiarity_labels(a, k, yes).argmax()] for a, k in ((yes, yes), (no, yes), (no, no))]
    ['again', 'kin', 'new']
    """
    place = torch.where(again, 0, torch.where(kin, 1, 2))
    return F.one_hot(place, len(FAMILIARITIES)).float() * known.unsqueeze(-1)


def category_overlap(left: Tensor, right: Tensor) -> Tensor:
    """Whether two multi-hot rows [..., C] share a category. [...].

    >>> category_overlap(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))
    tensor(True)
    """
    return (left * right).sum(-1) > 0
