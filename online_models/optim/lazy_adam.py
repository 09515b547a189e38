"""Adam that leaves alone the rows of a table which a batch did not touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LazyAdam(torch.optim.Adam):
    """Adam for dense gradients; for sparse ones (``nn.Embedding(sparse=True)``) only the touched rows move.

    A row's own count of updates corrects its bias, so an item that comes late takes a first step of full length ``lr``
    (``torch.optim.SparseAdam`` corrects by the table's count and cannot mix with dense parameters).

    Examples
    --------
    >>> table = torch.nn.Embedding(3, 1, sparse=True)
    >>> before, optimizer = table.weight.detach().clone(), LazyAdam(table.parameters(), lr=0.1)
    >>> table(torch.tensor([2])).sum().backward(); _ = optimizer.step()
    >>> (before - table.weight.detach()).squeeze().tolist()
    [0.0, 0.0, 0.1]
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient; sparse gradients are consumed."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    parameter.grad = None
        return super().step(closure)

    def _step_rows(self, table: Tensor, group: dict[str, Any]) -> None:
        """Adam on the touched rows: ``m ← β1 m + (1-β1) g``, ``v ← β2 v + (1-β2) g²``, ``w ← w - lr m̂ / (√v̂ + ε)``."""
        assert table.grad is not None
        gradient = table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()  # [K], [K, D]
        state = self._row_state(table)
        (beta1, beta2), counts = group["betas"], state["step"][rows] + 1  # [K]
        mean = state["exp_avg"][rows].lerp(values, 1 - beta1)  # [K, D]
        square = state["exp_avg_sq"][rows].lerp(values * values, 1 - beta2)  # [K, D]
        state["step"][rows], state["exp_avg"][rows], state["exp_avg_sq"][rows] = counts, mean, square
        shape = (-1,) + (1,) * (values.dim() - 1)
        mean = mean / (1 - beta1**counts).view(shape)
        square = square / (1 - beta2**counts).view(shape)
        table[rows] = table[rows] - group["lr"] * mean / (square.sqrt() + group["eps"])

    def _row_state(self, table: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[table]
        if not state:
            state["step"] = torch.zeros(len(table), device=table.device)  # [R]
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)  # [R, D]
        return state
