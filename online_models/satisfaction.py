"""A second question to a ranker: whether an item that is taken is also liked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SatisfactionHead(nn.Module):
    """Logit of "the item that is taken satisfies", from the user's and the item's vectors and the item's features.

    ``z = w · [u ⊙ e; u; e; g] + b``, and the loss is the binary cross-entropy on the hard outcome of the items taken.
    It reads the ranker's vectors and does not move them: the list comes first.

    Parameters
    ----------
    dimension
        D of the vectors.
    item_features
        G, features of an item.

    References
    ----------
    Online ranking distillation at YouTube (2408.14678) distils engagement and satisfaction. What differs: the head
    leaves the shared vectors alone.

    Examples
    --------
    >>> head = SatisfactionHead(4, 2)
    >>> head(torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 2))
    tensor([0., 0., 0.], grad_fn=<SqueezeBackward1>)
    """

    def __init__(self, dimension: int, item_features: int) -> None:
        super().__init__()
        self.output = nn.Linear(3 * dimension + item_features, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, user: Tensor, item: Tensor, features: Tensor) -> Tensor:
        """Logits [B] of users [B, D] and the items [B, D] that they take, with the items' features [B, G]."""
        logits: Tensor = self.output(torch.cat([user * item, user, item, features], 1)).squeeze(1)
        return logits

    def loss(self, logits: Tensor, outcomes: Tensor) -> Tensor:
        """Mean over the examples whose outcome is known; ``outcomes`` [B] are NaN elsewhere."""
        known = torch.isfinite(outcomes)  # [B]
        losses = F.binary_cross_entropy_with_logits(logits, outcomes.nan_to_num(), reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)
