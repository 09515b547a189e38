"""Negative samplers: pure functions; the generator is handed in.

Each returns ``(items [B, K], log_q [B, K])``. ``log_q`` is the log of how often the draw is expected to hold that item,
``log(K · p(item))``: with the positive kept at 0 (it is always there), subtracting it from the logits makes the sampled
softmax an unbiased estimate of the full one's partition sum. Draws are with replacement; mask what equals the positive
with :func:`accidental_hits`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from online_models.batch import PADDING


def uniform(rows: Tensor, examples: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw ``count`` negatives for each example, every row of ``rows`` [V] alike.

    >>> items, log_q = uniform(torch.arange(2, 6), 1, 2, torch.Generator().manual_seed(1))
    >>> items.shape, log_q
    (torch.Size([1, 2]), tensor([[-0.6931, -0.6931]]))

    Raises
    ------
    ValueError
        There is nothing to draw from.
    """
    _some(len(rows), "rows")
    places = torch.randint(len(rows), (examples, count), generator=generator)  # [B, K]
    return rows[places], torch.full((examples, count), math.log(max(count, 1) / len(rows)))


def popularity(
    counts: Tensor, examples: int, count: int, generator: torch.Generator, alpha: float = 0.75
) -> tuple[Tensor, Tensor]:
    """Draw ``count`` negatives for each example with ``p ∝ counts ** alpha``.

    ``counts`` [V] is indexed by catalogue row; rows that were never counted are never drawn.

    >>> items, log_q = popularity(torch.tensor([0., 0., 8., 0.]), 1, 2, torch.Generator().manual_seed(1))
    >>> items, log_q
    (tensor([[2, 2]]), tensor([[0.6931, 0.6931]]))

    Raises
    ------
    ValueError
        Nothing has been counted yet.
    """
    weights = torch.where(counts > 0, counts.double().clamp(min=0) ** alpha, 0.0)  # [V]
    total = weights.sum()
    _some(float(total), "counts")
    # searching the cumulated weights has no bound on V, unlike torch.multinomial
    draws = torch.rand((examples, count), generator=generator, dtype=torch.float64) * total  # [B, K]
    items = torch.searchsorted(weights.cumsum(0), draws, right=True)
    items = items.clamp(max=int(weights.nonzero()[-1]))
    return items, (weights[items] * (count / total)).log().float()


def in_batch(positives: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take the other examples' positives [B] as negatives: popular items come often, and log_q says how often.

    ``counts`` [V] are occurrences by catalogue row on the stream; without them the batch itself is the estimate.

    >>> items, log_q = in_batch(torch.tensor([5, 6, 6]))
    >>> items.tolist()
    [[6, 6], [5, 6], [5, 6]]
    """
    examples = len(positives)
    others = ~torch.eye(examples, dtype=torch.bool)  # [B, B]
    items = positives.expand(examples, examples)[others].view(examples, max(examples - 1, 0))  # [B, B - 1]
    if counts is None:
        _, place, seen = torch.unique(positives, return_inverse=True, return_counts=True)
        shares = (seen[place] / max(examples, 1)).expand(examples, examples)[others].view_as(items)
    else:
        shares = counts[items].clamp(min=1) / counts.sum().clamp(min=1)
    return items, (shares * max(examples - 1, 1)).log().float()


def accidental_hits(items: Tensor, positives: Tensor) -> Tensor:
    """Where a negative [B, K] is the example's own positive [B], or padding: mask these. [B, K].

    >>> accidental_hits(torch.tensor([[5, 6, 0]]), torch.tensor([6])).tolist()
    [[False, True, True]]
    """
    return (items == positives[:, None]) | (items == PADDING)


def _some(amount: float, name: str) -> None:
    if amount <= 0:
        raise ValueError(f"{name} has nothing to draw from; wait until the catalogue holds an item")
