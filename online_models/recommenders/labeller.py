"""A teacher that labels a stream, once for each event and before it."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from online_models.distill.methods import relations
from online_models.distill.schedules import Continuous, Schedule
from online_models.distill.soft_lists import SoftLists
from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.recommenders import Recommender
from online_models.recommenders.sequential import SequenceRecommender

KEPT_ITEMS = 20


class Labeller:
    """A teacher that is asked once about each event, before it learns anything of it.

    Parameters
    ----------
    teacher
        Its scores are logits over the catalogue.
    schedule
        When it learns.
    repeats
        Whether what a user has taken may come again; if not, it is no candidate of the teacher's list.
    bias
        [R] added to the teacher's logits: a fault that is planted to see where it goes.
    kept_items
        Items of a label.

    Attributes
    ----------
    labels, label_seconds, learn_seconds
        How many labels were made, and what they and the teacher's learning cost.
    newest : SoftLists | None
        Labels of the last micro-batch.
    """

    foresees = True  # a label is made before its event is known

    def __init__(
        self,
        teacher: Recommender,
        schedule: Schedule | None = None,
        *,
        repeats: bool = False,
        bias: Tensor | None = None,
        kept_items: int = KEPT_ITEMS,
    ) -> None:
        self.teacher, self.schedule = teacher, schedule or Continuous()
        self.repeats, self.bias, self.kept_items = repeats, bias, kept_items
        self.labels, self.label_seconds, self.learn_seconds = 0, 0.0, 0.0
        self.newest: SoftLists | None = None
        self._places: list[Rows] = []
        self._known = torch.zeros(0, dtype=torch.bool)  # [R] what the stream has brought

    def label(self, events: Interactions, histories: Histories) -> SoftLists:
        """Say what was to be expected before each event."""
        began = perf_counter()
        found = self.newest = self._label(events, histories)
        self.labels += len(found)
        self.label_seconds += perf_counter() - began
        if self.foresees:
            self._places.append(self._found(found, events))
        return found

    def _found(self, labels: SoftLists, events: Interactions) -> Rows:
        """Place of each event's item in its label. [E]."""
        hits = labels.items == torch.from_numpy(events.items)[:, None]  # [E, K]
        places: Rows = torch.where(hits.any(1), hits.int().argmax(1) + 1, self.kept_items + 1).numpy()
        return places

    @property
    def places(self) -> Rows:
        """Place of each event's item in the teacher's list, from 1; one more than a label has where it was not kept.

        Empty where labels are made of the item that was taken.
        """
        return np.concatenate(self._places) if self._places else np.zeros(0, np.int64)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn a micro-batch as the schedule has it."""
        began = perf_counter()
        self.schedule.teach(self.teacher, events, histories)
        if not len(self._known):
            self._known = torch.zeros(events.rows, dtype=torch.bool)
        self._known[torch.from_numpy(events.items)] = True
        self.learn_seconds += perf_counter() - began

    def _label(self, events: Interactions, histories: Histories) -> SoftLists:
        scores = torch.from_numpy(self.teacher.score(histories))  # [E, R]
        scores = scores if self.bias is None else scores + self.bias
        scores = scores.masked_fill(~self._learnt(scores.shape[1]), -torch.inf)
        if not self.repeats:
            users = torch.from_numpy(np.repeat(np.arange(len(histories)), histories.lengths))
            scores[users, torch.from_numpy(histories.items)] = -torch.inf
        return SoftLists.of_scores(scores, self.kept_items)

    def _learnt(self, rows: int) -> Tensor:
        """Say of which items the teacher knows anything: the others have no logit. [R]."""
        if isinstance(self.teacher, SequenceRecommender):
            return self.teacher.learner.counts > 0
        return self._known if len(self._known) else torch.zeros(rows, dtype=torch.bool)


class RelationLabeller(Labeller):
    """Labels made of the teacher's item vectors alone: what is like the item that was taken.

    Raises
    ------
    TypeError
        When asked, where the teacher is no sequence ranker.
    """

    foresees = False

    def _label(self, events: Interactions, histories: Histories) -> SoftLists:
        if not isinstance(self.teacher, SequenceRecommender):
            raise TypeError(
                f"{type(self.teacher).__name__} has no item vectors; give a teacher that is a sequence ranker"
            )
        learner = self.teacher.learner
        with torch.no_grad():
            vectors = learner.ranker.catalogue_vectors() * (learner.counts > 0)[:, None]  # [R, D]
        return relations(vectors, torch.from_numpy(events.items), self.kept_items)
