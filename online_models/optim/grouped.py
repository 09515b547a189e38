"""Several optimisers as one: each part of a system at its own pace."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

import torch


class Grouped(torch.optim.Optimizer):
    """Steps several optimisers together; the state is theirs.

    Examples
    --------
    >>> slow, fast = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    >>> both = Grouped(torch.optim.SGD([slow], lr=0.1), torch.optim.SGD([fast], lr=0.5))
    >>> (slow + fast).sum().backward(); both.step()
    >>> [round(parameter.item(), 2) for parameter in (slow, fast)]
    [0.9, 0.5]
    """

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self.state = ChainMap(*(optimizer.state for optimizer in optimizers))  # type: ignore[assignment]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step of each."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states in the order of the optimisers."""
        return {str(place): optimizer.state_dict() for place, optimizer in enumerate(self.optimizers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        for place, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(state_dict[str(place)])
        self.state = ChainMap(*(optimizer.state for optimizer in self.optimizers))  # type: ignore[assignment]
