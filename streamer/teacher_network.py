"""The teacher's network: the served family, wider, with a second question about the item that is taken."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from feature_store.vectors import ITEM_NAMES
from online_models.batch import Batch
from online_models.learner import seeded
from online_models.satisfaction import SatisfactionHead
from streamer.network import Network
from streamer.settings import Settings
from streamer.training_window import Lesson

_HEAD_RATE = 1e-3


@dataclass(frozen=True)
class Opinion:
    """What a version thinks of a batch: logits [B, N], and of the item taken the logit of satisfaction [B] or None."""

    logits: Tensor
    satisfaction: Tensor | None


class TeacherNetwork:
    """A ranker of ``teacher.scale`` times the student's width, and its satisfaction head.

    Parameters
    ----------
    settings
        Of the whole; the student's sizes are in ``learning``.
    sources
        S, candidate sources whose scores it reads.
    """

    def __init__(self, settings: Settings, sources: int) -> None:
        self._settings, self._sources = settings, sources
        sizes = wider(settings)
        self.network = Network(sizes, sources)
        with seeded(sizes.learning.seed):
            self.head = SatisfactionHead(sizes.learning.dimension, len(ITEM_NAMES))
        self._head_optimizer = torch.optim.Adam(self.head.parameters(), lr=_HEAD_RATE)
        self.head_steps = 0

    @torch.no_grad()
    def judge(self, batch: Batch) -> Opinion:
        """Score a batch; nothing is learnt. A head that has learnt nothing yet has no opinion."""
        logits = self.network.learner.score(batch.context, batch.candidates)  # [B, N]
        return Opinion(logits, self._satisfaction(batch) if self.head_steps else None)

    def learn(self, lesson: Lesson) -> dict[str, float]:
        """Take one step of the ranker and one of the head; returns what to plot."""
        plotted = self.network.learner.learn(lesson.batch)
        if not bool(torch.isfinite(lesson.satisfied).any()):  # nothing to learn: the session is not read again
            return plotted
        self._head_optimizer.zero_grad()
        loss = self.head.loss(self._satisfaction(lesson.batch), lesson.satisfied)
        if bool(torch.isfinite(loss)):
            loss.backward()  # type: ignore[no-untyped-call]
            self._head_optimizer.step()
            self.head_steps += 1
        return plotted

    def list_losses(self, batch: Batch) -> Tensor:
        """Losses [B] of its own logits, see :func:`list_losses`."""
        return list_losses(self.network.learner.score(batch.context, batch.candidates), batch)

    def copy(self) -> TeacherNetwork:
        """Return a second network in the same state: the next step of both is the same."""
        twin = TeacherNetwork(self._settings, self._sources)
        twin.load_state_dict(self.state_dict())
        return twin

    def parameters(self) -> int:
        """Count the numbers that it learns."""
        modules = (self.network.ranker, self.head)
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimisers."""
        return {
            "network": self.network.state_dict(),
            "head": {name: value.clone() for name, value in self.head.state_dict().items()},
            "head_optimizer": copy.deepcopy(self._head_optimizer.state_dict()),
            "head_steps": self.head_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.network.load_state_dict(state["network"])
        self.head.load_state_dict(state["head"])
        # the optimiser adopts the tensors that it is given
        self._head_optimizer.load_state_dict(copy.deepcopy(state["head_optimizer"]))
        self.head_steps = state["head_steps"]

    def _satisfaction(self, batch: Batch) -> Tensor:
        """Logit [B] for the item taken; what it says where nothing was taken means nothing."""
        place = batch.labels.argmax(1)  # [B]
        every = torch.arange(len(batch))
        users = self.network.ranker.user_vectors(batch.context)  # [B, D]
        items = self.network.ranker.items.weight.detach()[batch.candidates.items[every, place]]  # [B, D]
        logits: Tensor = self.head(users, items, batch.candidates.features[every, place])
        return logits


def list_losses(logits: Tensor, batch: Batch) -> Tensor:
    """``-log`` of the share [B] that logits [B, N] give to what was taken; NaN where nothing offered was.

    >>> from online_models.checks import example_batch
    >>> batch = example_batch(examples=2, candidates=4)
    >>> list_losses(torch.zeros(2, 4), batch).shape
    torch.Size([2])
    """
    offered = batch.offered  # [B, N]
    taken = batch.labels * offered  # [B, N]
    shares = logits.masked_fill(~offered, -torch.inf).log_softmax(1)  # [B, N]
    lost = -(torch.where(taken > 0, shares, 0) * taken).sum(1)  # [B]
    return lost / taken.sum(1)


def wider(settings: Settings) -> Settings:
    """Return the settings of a network that is wider by ``teacher.scale``.

    >>> wider(Settings()).learning.dimension // Settings().learning.dimension
    2
    """
    sizes = settings.learning
    dimension = sizes.dimension * settings.teacher.scale
    return settings.model_copy(update={"learning": sizes.model_copy(update={"dimension": dimension})})
