"""Adagrad whose accumulator takes a gradient in only after the step that the gradient made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class DelayedAdagrad(torch.optim.Optimizer):
    """``w ← w - lr · g_t / √G_{t-1}``, then ``G_t = G_{t-1} + g_t²``; of sparse tables only the touched rows.

    Plain Adagrad divides a gradient by an accumulator that holds it already, so a burst shortens its own step. Delayed,
    the step shows the burst in full, and Clippy bounds it.

    Parameters
    ----------
    parameters
        What is optimised.
    lr
        Learning rate.
    initial
        What the accumulators start from.

    References
    ----------
    The accumulator of Clippy-Adagrad, Tang et al., KDD 2023 (2302.09178).

    Examples
    --------
    >>> weight = nn.Parameter(torch.zeros(1))
    >>> optimizer = DelayedAdagrad([weight], lr=1.0, initial=0.25)
    >>> (3 * weight).sum().backward(); optimizer.step()
    >>> weight.item(), optimizer.state[weight]["sum"].item()
    (-6.0, 9.25)
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-2, initial: float = 0.1) -> None:
        if not (lr > 0 and initial > 0):
            raise ValueError(f"lr {lr} and initial {initial} must be above 0; 0.01 and 0.1 are usual")
        super().__init__(parameters, {"lr": lr, "initial": initial})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group)
        return loss

    def _step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["sum"] = torch.full_like(parameter, group["initial"])
        gradient = parameter.grad
        assert gradient is not None
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0], gradient.values()  # [K], [K, ...]
            parameter[rows] = parameter[rows] - group["lr"] * values / state["sum"][rows].sqrt()
            state["sum"][rows] += values * values
        else:
            parameter.addcdiv_(gradient, state["sum"].sqrt(), value=-group["lr"])
            state["sum"].addcmul_(gradient, gradient)
