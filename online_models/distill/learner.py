"""A sequence learner that also learns from soft labels, in the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from online_models.distill.methods import Lesson, Method
from online_models.distill.soft_lists import SoftLists
from online_models.learner import OptimizerFactory
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import SequenceRanker, Sequences


class DistilledLearner(SequenceLearner):
    """Adds a method's loss to the steps of a :class:`~online_models.sequence_learner.SequenceLearner`.

    Steps, targets and negatives are those of the same learner without a method: what differs is the loss. The states
    that the hard loss is made of are encoded once and serve both. The method's own weights (an auxiliary head) are
    trained and saved with the ranker's, and no graph has them.

    Parameters
    ----------
    ranker
        The student.
    method
        What the soft labels add.
    optimizer
        Makes the optimiser of the ranker's and the method's parameters.
    more
        As :class:`~online_models.sequence_learner.SequenceLearner` takes them.
    """

    def __init__(self, ranker: SequenceRanker, method: Method, optimizer: OptimizerFactory, **more: Any) -> None:
        ranker.add_module("distillation", method)
        super().__init__(ranker, optimizer, **more)
        self.method = method
        self._marks: list[Tensor] = []
        self._labels: SoftLists | None = None

    def learn_labelled(
        self, groups: Sequence[Sequences], marks: Sequence[Tensor], labels: SoftLists
    ) -> dict[str, float]:
        """Take one step on the targets of all groups, and on their soft labels.

        Parameters
        ----------
        groups
            Histories.
        marks
            [B, T] for each group: 1 + the place of an event's label in ``labels``, 0 where it has none.
        labels
            What the teacher thought of the marked events before they happened.
        """
        taught = [place for place, group in enumerate(groups) if bool((group.target_weights > 0).any())]
        self._marks, self._labels = [marks[place] for place in taught], labels
        try:
            return self.learn_sequences(*(groups[place] for place in taught))
        finally:
            self._marks, self._labels = [], None

    def _loss_of(self, groups: list[Sequences], negatives: Tensor, log_q: Tensor) -> Tensor:
        """Hard loss, weighed as the method wants, and the method's own."""
        if self._labels is None:
            return super()._loss_of(groups, negatives, log_q)
        pairs = list(zip(groups, self._marks, strict=True))
        places = [(mark[:, 1:] > 0) & (group.target_weights[:, 1:] > 0) for group, mark in pairs]  # [B, T - 1] each
        labels = self._labels.take(torch.cat([m[:, 1:][at] for m, at in zip(self._marks, places, strict=True)]) - 1)
        targets = _picked([group.items[:, 1:] for group in groups], places)  # [P]
        groups = _weighed(groups, places, self.method.hard_weights(labels, targets))
        states = [self.ranker.encode(group.without_newest()) for group in groups]  # [B, T - 1, D] each
        hard = self._hard(groups, states, negatives, log_q)
        if not len(labels):
            return hard
        return hard + self.method.loss(self._lesson(_picked(states, places), targets, labels, negatives, log_q))

    def _hard(self, groups: list[Sequences], states: list[Tensor], negatives: Tensor, log_q: Tensor) -> Tensor:
        """Mean over all targets: each group's mean weighed by its share of them."""
        shares = torch.stack([group.target_weights.sum() for group in groups])  # [G]
        losses = [
            self.ranker.loss_of_states(state, group, negatives, log_q, self.sequence_loss)
            for state, group in zip(states, groups, strict=True)
        ]
        return (torch.stack(losses) * shares).sum() / shares.sum()

    def _lesson(self, states: Tensor, targets: Tensor, labels: SoftLists, negatives: Tensor, log_q: Tensor) -> Lesson:
        """Gather the vectors of all items that a method may need, in one go: one sparse gradient."""
        count, kept = len(targets), labels.items.numel()
        vectors = self.ranker.item_vectors(torch.cat([targets, labels.items.flatten(), negatives]))
        return Lesson(
            states=states,
            targets=targets,
            target_vectors=vectors[:count],
            labels=labels,
            kept_vectors=vectors[count : count + kept].view(*labels.items.shape, -1),
            negative_vectors=vectors[count + kept :],
            negatives=negatives,
            log_q=log_q,
            items=int((self.counts > 0).sum()),
        )


def _picked(columns: list[Tensor], places: list[Tensor]) -> Tensor:
    """Values of all groups at their places, one after the other. [P, ...]."""
    return torch.cat([column[place] for column, place in zip(columns, places, strict=True)])


def _weighed(groups: list[Sequences], places: list[Tensor], weights: Tensor | None) -> list[Sequences]:
    """Multiply the weights of the targets at the places by ``weights`` [P]; None leaves them."""
    if weights is None:
        return groups
    found, first = [], 0
    for group, place in zip(groups, places, strict=True):
        last = first + int(place.sum())
        changed = group.target_weights.clone()
        changed[:, 1:][place] *= weights[first:last]
        found.append(replace(group, target_weights=changed))
        first = last
    return found
