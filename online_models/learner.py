"""The learner contract: all that a worker holds, and the composition that makes one of a torch ranker."""

from __future__ import annotations

import copy
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from online_models.batch import UNKNOWN, Batch, Candidates, Context
from online_models.optim import Clippy, LazyAdam
from online_models.optim.moves import Moves
from online_models.stability import LossWatch

if TYPE_CHECKING:
    from online_models.ranker import Ranker

# torch's global generator belongs to the process: two learners in two threads would draw each other's numbers
_generator_held = threading.RLock()
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
DistillationLoss = Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A named computation that can be served: exported to ONNX once, its values published many times.

    ``module(**inputs)`` must run (``forward`` names each input); ``dynamic`` names the axes that may change, e.g.
    ``{"candidates": {0: "B", 1: "N"}}``.
    ``tables`` are the parameters that stay outside the graph and are gathered by the server row by row.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic: dict[str, dict[int, str]] = field(default_factory=dict)
    tables: dict[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Learner(Protocol):
    """One step of learning, pure scoring, exact resume, and what can be served."""

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one step on a batch; returns what to plot (at least ``loss`` where there is one)."""
        ...

    def score(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates, [B, N], larger is better. Pure: nothing is learnt, rows do not see each other."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, counters and random state: everything that a bit-exact resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        ...

    def export(self) -> dict[str, Graph]:
        """Named computations to serve (empty for learners that publish rows only)."""
        ...


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generator as seeded here, and leave it as it was: same seed, same initial weights.

    >>> with seeded(7):
    ...     first = torch.rand(2)
    >>> with seeded(7):
    ...     torch.equal(first, torch.rand(2))
    True
    """
    with _generator_held, torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam at 1e-3 that moves only the touched rows of sparse tables: a default that suits a stream."""
    return LazyAdam(parameters, lr=1e-3)


class TorchLearner:
    """A ranker with an optimiser: one gradient step a batch.

    A step whose loss or gradient is not finite is skipped and counted, so one bad batch cannot spoil the weights.
    Random numbers (dropout) come from a state of its own, so a resumed learner draws what the first would have drawn,
    also while another learns in another thread: steps of one process wait for each other.

    Parameters
    ----------
    ranker
        The system to train; build it inside :func:`seeded`.
    optimizer
        Makes the optimiser of the parameters, e.g. ``partial(torch.optim.Adagrad, lr=0.05)``.
    distill
        Added to the ranker's loss: ``distill(logits [B, N], batch) -> scalar``.
    clip_norm
        Gradients longer than this are shortened to it; None leaves them.
    seed
        Start of the learner's own random numbers.

    Examples
    --------
    >>> from functools import partial
    >>> from online_models.checks import example_batch
    >>> from online_models.ranker import Ranker
    >>> class Popular(Ranker):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.bias = nn.Embedding(64, 1)
    ...     def forward(self, context, candidates):
    ...         return self.bias(candidates.items).squeeze(-1)  # [B, N]
    >>> learner, batch = TorchLearner(Popular(), partial(torch.optim.SGD, lr=1.0)), example_batch(seed=1)
    >>> losses = [learner.learn(batch)["loss"] for _ in range(5)]
    >>> losses[-1] < losses[0], learner.steps
    (True, 5)
    """

    def __init__(
        self,
        ranker: Ranker,
        optimizer: OptimizerFactory = adam,
        *,
        distill: DistillationLoss | None = None,
        clip_norm: float | None = 1.0,
        seed: int = 0,
    ) -> None:
        self.ranker = ranker.eval()
        self.optimizer = optimizer(ranker.parameters())
        self.distill = distill
        self.clip_norm = clip_norm
        self.steps = 0
        self.skipped_steps = 0
        self.watch = LossWatch()
        self._random = torch.Generator().manual_seed(seed)

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one gradient step on a batch; returns what :meth:`step` does."""
        return self.step(lambda: self._loss(batch))

    def step(self, loss_of: Callable[[], Tensor]) -> dict[str, float]:
        """Take one gradient step on the loss that ``loss_of()`` computes in training mode.

        Returns
        -------
        dict
            ``loss``; ``gradient_norm`` before it is clipped; ``skipped_steps`` and ``loss_spikes`` so far;
            ``update_ratio``, the length of the step over that of the weights it moved; with Clippy also the median and
            the least σ of the tensors, ``sigma_median`` and ``sigma_min``.
        """
        self.optimizer.zero_grad(set_to_none=True)
        with self._training():
            loss = loss_of()
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        norm = self._clipped_norm()
        applied = self._applied(bool(torch.isfinite(loss)) and bool(torch.isfinite(norm)))
        self.optimizer.zero_grad(set_to_none=True)
        self.watch.observe(loss.item())
        return {
            "loss": loss.item(),
            "gradient_norm": norm.item(),
            "skipped_steps": float(self.skipped_steps),
            "loss_spikes": float(self.watch.spikes),
            **applied,
        }

    def clipping_factors(self) -> dict[str, float]:
        """Return σ of the last step by parameter; the mean over the touched rows of a table. Empty without Clippy."""
        if not isinstance(self.optimizer, Clippy):
            return {}
        factors = self.optimizer.factors
        if not factors:
            return {}
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.ranker.named_parameters()}
        means = torch.stack([factor.mean() if factor.dim() else factor for factor in factors.values()]).tolist()
        return {names[parameter]: mean for parameter, mean in zip(factors, means, strict=True)}

    @torch.no_grad()
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates. [B, N]."""
        return self.ranker(context, candidates)

    def state_dict(self) -> dict[str, Any]:
        """Copy everything: later steps do not change what was returned."""
        return copy.deepcopy(
            {
                "ranker": dict(self.ranker.state_dict()),
                "optimizer": self.optimizer.state_dict(),
                "steps": self.steps,
                "skipped_steps": self.skipped_steps,
                "watch": self.watch.state_dict(),
                "random": self._random.get_state(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken."""
        self.ranker.load_state_dict(state["ranker"])
        # the optimiser adopts the tensors that it is given
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.steps = state["steps"]
        self.skipped_steps = state["skipped_steps"]
        if "watch" in state:  # snapshots of earlier versions have none
            self.watch.load_state_dict(state["watch"])
        self._random.set_state(state["random"])

    def export(self) -> dict[str, Graph]:
        """Return the ranker's graphs."""
        return self.ranker.graphs()

    @torch.no_grad()
    def forget(self, rows: Tensor | NDArray[np.int64]) -> None:
        """Give catalogue rows [K] whose item has left a fresh start: the unknown item's values, no optimiser state."""
        rows = torch.as_tensor(rows)
        for table in self.ranker.item_tables():
            table[rows] = table[UNKNOWN].clone()
            for moment in self.optimizer.state.get(table, {}).values():
                if isinstance(moment, Tensor) and moment.dim() > 0 and len(moment) == len(table):
                    moment[rows] = 0

    def _applied(self, finite: bool) -> dict[str, float]:
        """Let the optimiser step, or skip; how far the weights moved, relative to themselves, and what was cut."""
        if not finite:
            self.skipped_steps += 1
            return {"update_ratio": 0.0}
        self.steps += 1
        if isinstance(self.optimizer, Clippy):
            self.optimizer.step()
            factors = list(self.clipping_factors().values())
            sigma = {"sigma_median": statistics.median(factors), "sigma_min": min(factors)} if factors else {}
            return {"update_ratio": self.optimizer.update_ratio(), **sigma}
        moves = Moves(self.ranker.parameters())
        self.optimizer.step()
        return {"update_ratio": moves.relative()}

    def _loss(self, batch: Batch) -> Tensor:
        loss, logits = self.ranker.loss(batch)
        return loss if self.distill is None else loss + self.distill(logits, batch)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Training mode, with torch's global generator standing at this learner's own state."""
        self.ranker.train()
        try:
            with _generator_held, torch.random.fork_rng():
                # seeding (rather than setting the state) also reaches an accelerator's generator
                torch.manual_seed(int(torch.randint(2**62, (), generator=self._random)))
                yield
        finally:
            self.ranker.eval()

    def _clipped_norm(self) -> Tensor:
        """Length of the whole gradient before it is clipped; sparse gradients count by their touched rows."""
        gradients = [_values(parameter) for parameter in self.ranker.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.clip_norm is not None:
            scale = (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(gradients, scale) if gradients else None
        return norm


def _values(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return gradient
    parameter.grad = gradient.coalesce()
    return parameter.grad.values()
