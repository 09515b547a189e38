"""A small network beside a linear blend: it hears what every source says of a candidate, and adds to its logit."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateLists:
    """B lists of the N items that the blend puts first, with the blend's view of everything else.

    ``rest`` is the logarithm of what the blend's exponentials sum to outside the list, ``targets`` the place of what
    was taken, -1 where it is not in the list.
    """

    inputs: Tensor  # [B, N, F] what is known of each candidate
    contexts: Tensor  # [B, C]
    blended: Tensor  # [B, N] logits of the blend
    rest: Tensor  # [B]
    targets: Tensor  # [B] int64

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.targets)


def stacked(lists: list[CandidateLists]) -> CandidateLists:
    """Join lists of one length N."""
    names = [field.name for field in fields(CandidateLists)]
    return CandidateLists(**{name: torch.cat([getattr(part, name) for part in lists]) for name in names})


class CandidateNetwork(nn.Module):
    """``residual(j) = v · g(W₂ g(W x_j + V c))``, with ``v`` zero at the start: at first the whole is the blend.

    The input layer sees all sources at once, so it can tell an item that several sources agree on from one that a
    single source puts forward, which no weighing of sources by the context can.

    Parameters
    ----------
    inputs, contexts
        F and C.
    config
        Width and dropout.

    References
    ----------
    H.-T. Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016. What differs: the wide part is learnt by
    its own loss and enters as a fixed logit, and the deep one hears sources' scores, not ids.

    Examples
    --------
    >>> network = CandidateNetwork(3, 2)
    >>> network(torch.randn(1, 4, 3), torch.randn(1, 2)).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Width and dropout."""

        width: int = 64
        dropout: float = 0.0  # on a stream a list is seen four times; 0.1 gained nothing there, at twice the time

    def __init__(self, inputs: int, contexts: int, config: Config | None = None) -> None:
        super().__init__()
        config = config or self.Config()
        self.candidates = nn.Linear(inputs, config.width)
        self.contexts = nn.Linear(contexts, config.width, bias=False)
        self.hidden = nn.Linear(config.width, config.width // 2)
        self.out = nn.Linear(config.width // 2, 1, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.out.weight)

    def forward(self, inputs: Tensor, contexts: Tensor) -> Tensor:
        """Say what to add to the blend's logits. [B, N, F], [B, C] -> [B, N]."""
        hidden = nn.functional.gelu(self.candidates(inputs) + self.contexts(contexts)[:, None])  # [B, N, W]
        hidden = nn.functional.gelu(self.hidden(self.dropout(hidden)))  # [B, N, W / 2]
        residual: Tensor = self.out(hidden).squeeze(-1)
        return residual

    def loss(self, lists: CandidateLists) -> Tensor:
        """Softmax cross-entropy over the whole catalogue; scalar.

        Candidates count with blend and residual, everything else with the blend alone. So a target that is not in the
        list is a lesson too, and nothing in the list tells whether the target was put there.
        """
        logits = lists.blended + self(lists.inputs, lists.contexts)  # [B, N]
        total = torch.logaddexp(logits.logsumexp(1), lists.rest)  # [B]
        inside = lists.targets >= 0  # [B]
        own = logits.gather(1, lists.targets.clamp(min=0)[:, None]).squeeze(1)  # [B]
        mean: Tensor = (total - own * inside).mean()
        return mean
