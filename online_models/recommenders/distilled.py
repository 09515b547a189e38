"""Students that learn a stream from its events and from a teacher, as they are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import PADDING
from online_models.distill.learner import DistilledLearner
from online_models.distill.methods import Auxiliary, Confidence, Direct, Method, Ranking, Smoothing, Spread
from online_models.distill.schedules import Schedule
from online_models.distill.soft_lists import LabelMemory
from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting
from online_models.recommenders.caser import caser_learner
from online_models.recommenders.history_store import Columns
from online_models.recommenders.labeller import Labeller, RelationLabeller
from online_models.recommenders.sequential import SIZES, Online, SequenceRecommender, bucketed, sasrec_learner
from online_models.sequence_fitting import Fitting
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences

TEACHER_SEED = 1_000
REFRESH = Fitting(batch_positions=1_024, epochs=1)


class DistilledRecommender(SequenceRecommender):
    """A :class:`SequenceRecommender` whose micro-batches carry a teacher's labels.

    The teacher labels a micro-batch with what it knew before it, then both learn. Labels are kept, so that a replayed
    event brings its label along and the teacher is never asked twice. Steps, windows, replays and negatives are those
    of the student alone.

    Parameters
    ----------
    make_learner
        Makes the student.
    labeller
        The teacher.
    setting
        The catalogue and how it will be used.
    kept_labels
        Labels that are kept for replays; 0: a label is used once.
    more
        As :class:`SequenceRecommender` takes them.
    """

    learner: DistilledLearner

    def __init__(
        self,
        make_learner: Callable[[], DistilledLearner],
        labeller: Labeller,
        setting: Setting,
        *,
        kept_labels: int = 50_000,
        **more: Any,
    ) -> None:
        super().__init__(make_learner, setting, **more)
        self.labeller = labeller
        self._memory = LabelMemory(max(kept_labels, self.micro_batch), labeller.kept_items)
        self._replay_labels = kept_labels > 0
        self._numbers = np.zeros_like(self._store.columns.items)  # [S, W] labels of the stored events, 0 for none

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a whole log without labels: the log has no moment before its events."""
        self.labeller.teacher.fit(train, validation)
        super().fit(train, validation)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Label a micro-batch, learn it with its labels in one step, and let the teacher learn it."""
        labels = self.labeller.label(events, histories)
        self._set_dropout(self.online.dropout)
        newest, new = self._store.extend(events, histories)
        given = torch.where(labels.items[:, 0] != PADDING, self._memory.add(labels), 0)  # a label may say nothing
        numbers = self._number(newest, events, given.numpy(), new)
        parts, marks = self._windows(newest, new), self._windows(replace(newest, actions=numbers), new)
        replayed = round(self.online.replay * len(events))
        if replayed:
            drawn, drawn_marks = self._draw(replayed)
            parts.append(drawn)
            marks.append(drawn_marks)
        groups = bucketed(parts, self.online.widths)
        told = [group.actions for group in bucketed(marks, self.online.widths)]  # [B, T] numbers of labels
        self._learn_labelled(groups, told)
        self.labeller.learn(events, histories)

    def _number(
        self, newest: Columns, events: Interactions, numbers: NDArray[np.int64], new: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Write the labels' numbers beside the stored events; returns them beside the newest ones. [U, W]."""
        slots = newest.users % len(self._numbers)
        width = self._numbers.shape[1]
        moved = np.arange(width) + new[:, None]  # [U, W] where a column's event stood before
        beside = np.where(moved < width, self._numbers[slots[:, None], np.minimum(moved, width - 1)], 0)
        order = np.argsort(events.users, kind="stable")  # users rise in ``newest`` too
        rows = np.repeat(np.arange(len(new)), new)
        steps = np.arange(len(rows)) - np.repeat(np.cumsum(new) - new, new)  # from 0 for each user
        beside[rows, width - new[rows] + steps] = numbers[order]
        self._numbers[slots] = beside
        return beside

    def _draw(self, targets: int) -> tuple[Sequences, Sequences]:
        """Draw windows to be replayed, and the same windows with their labels' numbers as actions."""
        state = self._random.bit_generator.state
        drawn = self._store.draw(targets, self.history + 1, self._random).sequences()
        if not self._replay_labels:
            return drawn, replace(drawn, actions=torch.zeros_like(drawn.actions))
        self._random.bit_generator.state = state
        numbered = copy(self._store)
        numbered.columns = replace(self._store.columns, actions=self._numbers)
        return drawn, numbered.draw(targets, self.history + 1, self._random).sequences()

    def _learn_labelled(self, groups: list[Sequences], told: list[Tensor]) -> None:
        """Read the labels that are still known, each once, and take the step."""
        known = [torch.where(self._memory.known(numbers), numbers, 0) for numbers in told]
        every = torch.cat([torch.zeros(1, dtype=torch.int64), *(numbers.flatten() for numbers in known)])
        # 0, the number of no label, comes first
        different, place = torch.unique(every, return_inverse=True)
        marks = torch.split(place[1:], [numbers.numel() for numbers in known])
        shaped = [mark.view_as(numbers) for mark, numbers in zip(marks, known, strict=True)]
        self.learner.learn_labelled(groups, shaped, self._memory.at(different[1:]))


@dataclass(frozen=True, kw_only=True)
class Family:
    """Student and teacher of one architecture."""

    make: Callable[..., SequenceLearner]  # (setting, **sizes)
    dimension: int  # of the student
    table_rate: float
    sizes: dict[str, Any]
    state_scale: int = 1  # a user's state has so many times the dimension, …
    state_extra: int = 0  # … and so many entries more

    def learner(self, setting: Setting, width: float = 1.0) -> SequenceLearner:
        """Make the plain learner, ``width`` times as wide."""
        dimension = round(self.dimension * width)
        return self.make(setting, dimension=dimension, table_rate=self.table_rate / width**0.5, **self.sizes)

    def distilled(self, setting: Setting, method: Method, width: float = 1.0) -> DistilledLearner:
        """Make the same learner with a method: the same weights, rates and negatives."""
        plain = self.learner(setting, width)
        optimizer = extended(plain.optimizer, method)
        return DistilledLearner(plain.ranker, method, lambda _: optimizer, negatives=plain.negatives, seed=setting.seed)

    def auxiliary(self, setting: Setting, width: float = 1.0, **settings: Any) -> Auxiliary:
        """Make an auxiliary head that fits the student's states."""
        states = round(self.dimension * width) * self.state_scale + self.state_extra
        return Auxiliary(states, setting.rows, **settings)


def extended(optimizer: torch.optim.Optimizer, method: Method) -> torch.optim.Optimizer:
    """Let an optimiser of tables and of all else (its two groups) move a method's own weights at the same rates."""
    tables = method.item_tables()
    apart = {id(table) for table in tables}
    rest = [parameter for parameter in method.parameters() if id(parameter) not in apart]
    for group, own in zip(list(optimizer.param_groups), (tables, rest), strict=True):
        if own:
            optimizer.add_param_group({**group, "params": own})
    return optimizer


SASREC = Family(make=sasrec_learner, dimension=64, table_rate=1e-2, sizes=SIZES)
CASER = Family(make=caser_learner, dimension=50, table_rate=3e-2, sizes={}, state_scale=2, state_extra=1)

# What a student learns from its teacher's labels, by name; the last number is the weight of the labels.
METHODS: dict[str, Callable[[Family, Setting, float], Method]] = {
    "direct": lambda family, setting, weight: Direct(weight),
    "auxiliary": lambda family, setting, weight: family.auxiliary(setting, weight=weight),
    "ranking": lambda family, setting, weight: Ranking(weight),
    "smoothing": lambda family, setting, weight: Smoothing(0.1 * weight),
    "confidence": lambda family, setting, weight: Confidence(),
    "top-k": lambda family, setting, weight: Spread(weight),
    "relation": lambda family, setting, weight: Direct(weight),
}


def distilled(
    setting: Setting,
    method: str = "auxiliary",
    *,
    weight: float = 1.0,
    family: Family = SASREC,
    teacher_width: float = 2.0,
    width: float = 1.0,
    schedule: Schedule | None = None,
    bias: Tensor | None = None,
    make_method: Callable[[Family, Setting], Method] | None = None,
    teacher_online: Online | None = None,
    make_teacher: Factory | None = None,
    **more: Any,
) -> DistilledRecommender:
    """Make a student with a teacher.

    Parameters
    ----------
    setting
        The catalogue and how it will be used.
    method
        A name of :data:`METHODS`.
    weight
        Of the labels beside the hard loss. A teacher that is far ahead of the student is worth more, such as 3.
    family
        Architecture of both.
    teacher_width, width
        Widths in units of the family's own.
    schedule
        When the teacher learns; None: always.
    bias
        [R] added to the teacher's logits.
    make_method
        Makes the method; None: by its name.
    teacher_online
        Micro-batches and replay of the teacher; None: as the student's.
    make_teacher
        Makes another teacher, whose scores are logits; None: the family's own, ``teacher_width`` wide.
    more
        As :class:`DistilledRecommender` takes them.
    """
    chosen = make_method(family, setting) if make_method else METHODS[method](family, setting, weight)
    # another seed: a teacher that is its own student would have nothing to say
    apart = replace(setting, seed=setting.seed + TEACHER_SEED)
    own = partial(_wide_teacher, family=family, width=teacher_width, online=teacher_online)
    teacher = (make_teacher or own)(apart)
    kind = RelationLabeller if method == "relation" else Labeller
    labeller = kind(teacher, schedule, repeats=setting.repeats, bias=bias)
    return DistilledRecommender(partial(family.distilled, setting, chosen, width), labeller, setting, **more)


def _wide_teacher(setting: Setting, family: Family, width: float, online: Online | None) -> SequenceRecommender:
    return SequenceRecommender(partial(family.learner, setting, width), setting, fitting=REFRESH, online=online)


def _factories(family: Family, name: str) -> dict[str, Factory]:
    """One recommender for each method, with a teacher of twice the width that learns always."""

    def factory(method: str) -> Factory:
        def make(setting: Setting) -> DistilledRecommender:
            return distilled(setting, method, family=family)

        make.__doc__ = f"{name} with a teacher of twice its width, distilled by: {method}."
        return make

    return {f"{name.lower()}-{method}": factory(method) for method in METHODS}


RECOMMENDERS: dict[str, Factory] = _factories(SASREC, "SASRec") | _factories(CASER, "Caser")
