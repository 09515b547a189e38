"""How far one step of an optimiser moves the weights: what Clippy bounds and what a dashboard shows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Moves:
    """Copies of the weights that have a gradient, taken before a step, to be compared with what stands there after it.

    Of a table with a sparse gradient only the touched rows are copied.

    Parameters
    ----------
    parameters
        Those without a gradient, or with one that touches no row, are left out.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weight.sum().backward()
    >>> moves = Moves([weight]); torch.optim.SGD([weight], lr=0.5).step()
    >>> [delta.tolist() for delta in moves.deltas()], round(moves.relative(), 3)
    ([[-0.5, -0.5]], 0.141)
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        moved = [(p, _touched(p)) for p in parameters if p.grad is not None and p.numel() > 0]
        moved = [(parameter, rows) for parameter, rows in moved if rows is None or len(rows) > 0]
        self.parameters = [parameter for parameter, _ in moved]
        self.rows = [rows for _, rows in moved]  # [K] of a sparse table, else None
        self.before = [_copy(parameter, rows) for parameter, rows in moved]

    @torch.no_grad()
    def deltas(self) -> list[Tensor]:
        """Return what has been added since: as the parameter, or as its touched rows [K, ...]."""
        places = zip(self.parameters, self.rows, strict=True)
        now = [parameter if rows is None else parameter[rows] for parameter, rows in places]
        return list(torch._foreach_sub(now, self.before)) if now else []

    def relative(self, deltas: list[Tensor] | None = None) -> float:
        """Length of the whole step over the length of the weights that it moved: ``‖Δ‖ / ‖w‖``.

        Parameters
        ----------
        deltas
            What :meth:`deltas` returns, where it is known already.
        """
        if not self.before:
            return 0.0
        step = torch.nn.utils.get_total_norm(self.deltas() if deltas is None else deltas)
        return float(step / torch.nn.utils.get_total_norm(self.before).clamp(min=1e-12))


def _touched(parameter: Tensor) -> Tensor | None:
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return None
    parameter.grad = gradient.coalesce()
    return parameter.grad.indices()[0]


def _copy(parameter: Tensor, rows: Tensor | None) -> Tensor:
    return parameter.detach().clone() if rows is None else parameter.detach()[rows]
