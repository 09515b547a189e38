"""Clippy: no weight moves by more than a share of itself in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from online_models.optim.delayed_adagrad import DelayedAdagrad
from online_models.optim.moves import Moves


class Clippy(torch.optim.Optimizer):
    """Shortens the steps of another optimiser, tensor by tensor, without turning them.

    With the step Δ that the wrapped optimiser proposes for a tensor ``w``::

        σ = min{1, min_i (λ_rel |w_i| + λ_abs) / |Δ_i|},    w ← w + σ Δ

    A dense tensor has one σ. Each touched row of a table with a sparse gradient has its own, since rows are the vectors
    of different items: a burst on one of them must not hold the others back. A step that is not finite is not taken.
    The wrapped optimiser's own state (moments, accumulators) takes every gradient in as it came, so weights and state
    resume exactly with what it saves.

    Parameters
    ----------
    optimizer
        Any torch optimiser that steps without a closure.
    relative
        λ_rel, the share of itself by which a weight may move.
    absolute
        λ_abs, how far a weight may move that is zero.

    Attributes
    ----------
    factors
        σ of the last step by parameter: scalar of a dense tensor, [K] of the touched rows of a table.

    Raises
    ------
    ValueError
        A threshold that would not let any weight move.

    References
    ----------
    Tang et al., "Improving Training Stability for Multitask Ranking Models in Recommender Systems", KDD 2023
    (2302.09178). What differs: it wraps any optimiser rather than being an Adagrad (see :func:`clippy_adagrad`), and
    it bounds embedding rows too, which the paper leaves to the plain optimiser.

    Examples
    --------
    >>> weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> clippy = Clippy(torch.optim.SGD([weight], lr=1.0), relative=0.5, absolute=0.0)
    >>> (weight * torch.tensor([2.0, 1.0])).sum().backward(); clippy.step()
    >>> weight.tolist(), clippy.factors[weight].item()
    ([0.5, 1.75], 0.25)
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, relative: float = 0.5, absolute: float = 1e-2) -> None:
        if not (relative >= 0 and absolute >= 0 and relative + absolute > 0):
            raise ValueError(
                f"relative {relative} and absolute {absolute} must be at least 0 and not both 0; "
                "0.5 and 0.01 suit most learners"
            )
        self.optimizer = optimizer
        self.relative, self.absolute = relative, absolute
        self.factors: dict[Tensor, Tensor] = {}
        self._ratio = 0.0
        super().__init__(optimizer.param_groups, {})
        self.state = optimizer.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Let the wrapped optimiser step, then take back of each tensor's move what goes too far."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        moves = Moves(parameter for group in self.optimizer.param_groups for parameter in group["params"])
        self.optimizer.step()
        self._shorten(moves)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the wrapped optimiser's state: there is no other."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.optimizer.load_state_dict(state_dict)
        self.state, self.param_groups = self.optimizer.state, self.optimizer.param_groups

    def update_ratio(self) -> float:
        """Length of the last step, as it was taken, over the length of the weights that it moved."""
        return self._ratio

    def _shorten(self, moves: Moves) -> None:
        deltas = moves.deltas()
        factors = self._factors(moves, deltas)
        self.factors = dict(zip(moves.parameters, factors, strict=True))
        shortened = torch.cat([factor.reshape(-1) for factor in factors]).lt(1) if factors else torch.zeros(0)
        sizes = [factor.numel() for factor in factors]
        for place, short in enumerate(torch.split(shortened, sizes) if bool(shortened.any()) else ()):
            if short.any():  # a step that may be taken whole stays as it is, to the last bit
                taken = _put(
                    moves.parameters[place], moves.rows[place], moves.before[place], deltas[place], factors[place]
                )
                deltas[place] = taken
        self._ratio = moves.relative(deltas)

    def _factors(self, moves: Moves, deltas: list[Tensor]) -> list[Tensor]:
        """σ of every tensor (scalar) and of every touched row [K]; 0 where a step is not finite."""
        if not deltas:
            return []
        before, delta = (torch.cat([part.flatten() for part in parts]) for parts in (moves.before, deltas))
        ratios = before.abs_().mul_(self.relative).add_(self.absolute).div_(delta.abs())
        ratios.masked_fill_(delta == 0, torch.inf)  # 0 / 0 where a weight that may not move did not
        parts = torch.split(ratios, [part.numel() for part in deltas])
        least = [
            part.amin() if rows is None else part.view(len(rows), -1).amin(1)
            for part, rows in zip(parts, moves.rows, strict=True)
        ]
        sizes = [part.numel() for part in least]
        bounded = torch.cat([part.reshape(-1) for part in least]).clamp_(max=1).nan_to_num_(0.0)
        return [part.view(own.shape) for part, own in zip(torch.split(bounded, sizes), least, strict=True)]


def clippy_adagrad(
    parameters: Iterable[nn.Parameter], lr: float = 1e-2, *, relative: float = 0.5, absolute: float = 1e-2
) -> Clippy:
    """Clippy-Adagrad as published: an accumulator that starts at 0.1 and counts a gradient only after its step.

    The thresholds of the authors' library, 0.1 and 1e-7, suit large weights: a tensor that holds one weight near 0
    hardly moves with them.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> optimizer = clippy_adagrad([weight], lr=1.0)
    >>> weight.sum().backward(); optimizer.step()
    >>> weight.item(), optimizer.factors[weight].item()
    (0.49, 0.161)
    """
    return Clippy(DelayedAdagrad(parameters, lr=lr), relative=relative, absolute=absolute)


def _put(parameter: Tensor, rows: Tensor | None, before: Tensor, delta: Tensor, factor: Tensor) -> Tensor:
    """``w ← w + σ Δ``; where σ is 0 the step may hold what is not finite, so it is not multiplied. Returns the step."""
    scale = factor.view(-1, *(1,) * (delta.dim() - 1)) if rows is not None else factor  # [K, 1, ...]
    taken = torch.where(scale > 0, scale * delta, 0.0)
    if rows is None:
        parameter.copy_(before + taken)
    else:
        parameter[rows] = before + taken
    return taken
