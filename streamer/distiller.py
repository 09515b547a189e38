"""The distillation step: what a batch teaches by its soft labels, after its hard step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import Batch
from online_models.learner import seeded
from online_models.optim import LazyAdam
from streamer.errors import SettingsError
from streamer.network import Network
from streamer.settings import Learning
from streamer.soft_losses import OFF, SOFT_LOSSES, soft_loss_of

_RATE = 1e-3


class Distiller:
    """Takes steps on batches that have teacher logits.

    ``loss = α · soft``, on the batch as it was when its hard step was taken. "direct" adds the hard loss; the other
    methods do not repeat it, for a second look at the hard labels makes a student worse. Where it is wanted, the loss
    of the second task, satisfaction, is added. What is needed for that beside the network (the heads) lives here with
    an optimiser of its own, so nothing of it can reach what is exported and served.

    Parameters
    ----------
    sizes
        Method, its weight α, weight of the second task, seed.
    network
        Whose ranker learns.

    Raises
    ------
    SettingsError
        There is no such method.
    """

    def __init__(self, sizes: Learning, network: Network) -> None:
        check_method(sizes.distillation)
        self.network, self.weight = network, sizes.distillation_weight
        with seeded(sizes.seed):
            self.soft_loss = soft_loss_of(sizes, network.ranker)
        parameters = list(self.soft_loss.parameters())
        self.optimizer = LazyAdam(parameters, lr=_RATE) if parameters else None

    def step(self, batch: Batch) -> dict[str, float]:
        """Take one step; returns what to plot."""
        learner, told = self.network.learner, list[Tensor]()

        def loss_of() -> Tensor:
            soft, beside = self.soft_loss(self.network.ranker, batch)
            told.append(soft.detach())
            return self.weight * soft + beside

        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
        before = learner.steps
        plotted = learner.step(loss_of)
        if self.optimizer is not None and learner.steps > before and self._finite():
            self.optimizer.step()
        return {"soft_loss": told[0].item(), "distilled_loss": plotted["loss"]}

    @torch.no_grad()
    def forget(self, rows: NDArray[Any]) -> None:
        """Give rows [K] whose item has left a fresh start."""
        for table in self.soft_loss.item_tables():
            table[rows] = 0
            moments = self.optimizer.state.get(table, {}) if self.optimizer is not None else {}
            for moment in moments.values():
                moment[rows] = 0

    def _finite(self) -> bool:
        gradients = [parameter.grad for parameter in self.soft_loss.parameters() if parameter.grad is not None]
        values = [gradient.coalesce().values() if gradient.is_sparse else gradient for gradient in gradients]
        return all(bool(torch.isfinite(value).all()) for value in values)

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser of what is not served."""
        optimizer = {} if self.optimizer is None else self.optimizer.state_dict()
        return copy.deepcopy({"soft_loss": dict(self.soft_loss.state_dict()), "optimizer": optimizer})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; that of another method is left: its head fits no other."""
        if set(state["soft_loss"]) != set(self.soft_loss.state_dict()):
            return
        self.soft_loss.load_state_dict({name: torch.as_tensor(value) for name, value in state["soft_loss"].items()})
        if self.optimizer is not None:
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))


def check_method(name: str) -> None:
    """Raise :class:`SettingsError` for a method that does not exist.

    >>> check_method("auxiliary")
    """
    if name not in SOFT_LOSSES:
        raise SettingsError(
            f"learning.distillation is {name!r}; the methods are {', '.join((*SOFT_LOSSES, OFF))}. "
            "Set HEADWATER_LEARNING__DISTILLATION."
        )
