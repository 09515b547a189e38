from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from online_models.distill.methods import Direct, Lesson, Method, Smoothing
from online_models.distill.schedules import Frozen, Refreshed
from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting, recommenders
from online_models.recommenders.distilled import (
    CASER,
    METHODS,
    SASREC,
    DistilledRecommender,
    Family,
    distilled,
)
from online_models.recommenders.sequential import Online, SequenceRecommender

ROWS, USERS, BATCH = 42, 30, 32
SETTING = Setting(rows=ROWS, user_count=USERS)
SMALL = Family(
    make=lambda setting, **sizes: SASREC.make(setting, rate=1e-2, negatives=32, **sizes),
    dimension=16,
    table_rate=1e-2,
    sizes={"layers": 1},
)


def stream(events: int, step: int = 3, seed: int = 4) -> Interactions:
    """Random users take turns; each walks in a ring of its own steps, so no item is more popular than another."""
    draw = np.random.default_rng(seed)
    users, place = draw.integers(0, USERS, events), draw.integers(0, ROWS - 2, USERS)
    items = np.zeros(events, np.int64)
    for event, user in enumerate(users):
        place[user] = (place[user] + step) % (ROWS - 2)
        items[event] = place[user] + 2
    return Interactions(
        users=users,
        items=items,
        times_seconds=np.arange(events, dtype=np.float64),
        actions=np.ones(events, np.int64),
        values=np.full(events, np.nan, np.float32),
        tested=np.ones(events, bool),
        rows=ROWS,
        user_count=USERS,
    )


def before_each(log: Interactions, first: int, last: int) -> Histories:
    lists = [log.items[:event][log.users[:event] == log.users[event]].tolist() for event in range(first, last)]
    return Histories.of(lists, users=log.users[first:last].tolist())


def walk(recommender: SequenceRecommender, log: Interactions) -> None:
    for first in range(0, len(log), recommender.micro_batch):
        last = min(first + recommender.micro_batch, len(log))
        recommender.learn(log.take(slice(first, last)), before_each(log, first, last))


def make(method: str = "direct", **more: Any) -> DistilledRecommender:
    online = Online(micro_batch=BATCH)
    settings = {"family": SMALL, "history": 12, "online": online, "teacher_online": online} | more
    return distilled(Setting(rows=ROWS, user_count=USERS, repeats=True), method, **settings)


def alone(family: Family = SMALL) -> SequenceRecommender:
    learner = lambda: family.learner(SETTING)  # noqa: E731
    return SequenceRecommender(learner, SETTING, history=12, online=Online(micro_batch=BATCH))


def weights(recommender: SequenceRecommender) -> dict[str, torch.Tensor]:
    state = recommender.learner.ranker.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("distillation")}


@pytest.mark.parametrize("family", [SMALL, CASER], ids=["sasrec", "caser"])
def test_without_a_soft_loss_it_is_the_student_alone_bit_by_bit(family: Family) -> None:
    log, plain = stream(250), alone(family)
    silent = make(family=family, make_method=lambda family, setting: Method())
    walk(plain, log)
    walk(silent, log)
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(silent)[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_changes_the_student_and_its_weights_stay_finite(method: str) -> None:
    log, plain, taught = stream(300), alone(), make(method)
    walk(plain, log)
    walk(taught, log)
    assert taught.learner.steps == plain.learner.steps and taught.learner.skipped_steps == 0
    assert any(not torch.equal(value, weights(taught)[name]) for name, value in weights(plain).items())


class Silenced(Direct):
    """Learns the soft labels alone: no target has any weight."""

    def hard_weights(self, labels: Any, targets: torch.Tensor) -> torch.Tensor:
        return torch.full(targets.shape, 1e-9)


def test_a_pattern_that_no_hard_label_shows_is_learnt_from_the_teacher() -> None:
    """The teacher knows rings of step 3; the student sees users who jump about, and its teacher's opinion of them."""
    patterned, noise = stream(1_500), stream(700)
    noise = noise.take(slice(None))
    noise.items[:] = np.random.default_rng(7).integers(2, ROWS, len(noise))
    hits = {}
    for name, method in {"teacher": Direct(), "nobody": Method()}.items():
        student = make(make_method=lambda family, setting, method=method: method, schedule=Frozen(warm_up=0))
        walk(student.labeller.teacher, patterned)
        walk(student, noise)
        asked = np.random.default_rng(1).integers(0, ROWS - 2, 100)
        lists = [[2 + (start + 3 * step) % (ROWS - 2) for step in range(6)] for start in asked]
        scores = student.score(Histories.of(lists))
        next_items = (asked + 18) % (ROWS - 2) + 2
        ranks = (scores[:, 2:] >= scores[np.arange(100), next_items][:, None]).sum(1)
        hits[name] = (ranks <= 5).mean()
    assert hits["nobody"] < 0.3 and hits["teacher"] > 0.6


def shift_by_bias(method: str) -> float:
    """How much higher the served logits of some items are, with a teacher that favours them by 2, in units of that."""
    bias, favoured = torch.zeros(ROWS), slice(2, 12)
    bias[favoured] = 2.0
    log, asked = stream(500), stream(564)
    means = []
    for given in (None, bias):
        student = make(method, bias=given)
        walk(student, log)
        scores = student.score(before_each(asked, 500, 564))
        scores = scores - scores[:, 2:].mean(1, keepdims=True)
        means.append(scores[:, favoured].mean())
    return float(means[1] - means[0]) / 2


def test_a_teachers_bias_shifts_the_served_logit_less_through_the_auxiliary_one() -> None:
    direct, auxiliary = shift_by_bias("direct"), shift_by_bias("auxiliary")
    assert direct > 0.1 and abs(auxiliary) < direct


def test_the_teacher_labels_each_event_once_before_it_learns_it() -> None:
    student, log = make(), stream(200)
    teacher, asked = student.labeller.teacher, []
    score = teacher.score

    def recorded(histories: Histories) -> Any:
        asked.append((teacher.learner.steps, len(histories)))
        return score(histories)

    teacher.score = recorded  # type: ignore[method-assign]
    walk(student, log)
    assert sum(number for _, number in asked) == 200 == len(student.labeller.places)
    assert [steps for steps, _ in asked] == [0, *range(1, len(asked))][: len(asked)]


class Recorded(Method):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Lesson] = []

    def loss(self, lesson: Lesson) -> torch.Tensor:
        self.seen.append(lesson)
        return lesson.states.new_zeros(())


@pytest.mark.parametrize("kept_labels", [0, 10_000])
def test_labels_stand_beside_their_own_events_also_when_they_are_replayed(kept_labels: int) -> None:
    """A teacher whose list holds nothing but the next item of a ring tells which event a label belongs to."""
    method = Recorded()
    student = make(make_method=lambda family, setting: method, kept_labels=kept_labels)

    def foreseen(histories: Histories) -> Any:
        scores = np.full((len(histories), ROWS), -20.0, np.float32)
        last = np.where(histories.lengths > 0, histories.items[histories.offsets[1:] - 1], 2)
        scores[np.arange(len(histories)), (last - 2 + 3) % (ROWS - 2) + 2] = 5
        return scores

    student.labeller.teacher.score = foreseen  # type: ignore[method-assign]
    student.labeller.teacher.learner.counts += 1
    log = stream(400)
    walk(student, log)
    told = [(int((lesson.labels.items[:, 0] == lesson.targets).sum()), len(lesson.targets)) for lesson in method.seen]
    assert all(right == number for right, number in told)
    labels = sum(number for _, number in told)
    assert labels > 1.7 * len(log) if kept_labels else len(log) - USERS <= labels <= len(log)


def steps(student: DistilledRecommender) -> int:
    teacher = student.labeller.teacher
    assert isinstance(teacher, SequenceRecommender)
    return teacher.learner.steps


def test_a_teacher_may_be_anything_that_scores_but_relations_need_vectors() -> None:
    log, counting = stream(200), recommenders()["cooccurrence"]
    student = make("direct", make_teacher=counting)
    walk(student, log)
    assert len(student.labeller.places) == 200 and student.learner.skipped_steps == 0
    with pytest.raises(TypeError, match="has no item vectors"):
        walk(make("relation", make_teacher=counting), log)


def test_a_frozen_teacher_stays_and_a_refreshed_one_moves_at_its_interval() -> None:
    log = stream(640)
    frozen = make(schedule=Frozen(warm_up=320))
    walk(frozen, log)
    assert steps(frozen) == 10
    schedule = Refreshed(warm_up=320, every=96, window=200)
    refreshed = make(schedule=schedule)
    walk(refreshed, log)
    assert schedule.refreshes == 3 and steps(refreshed) > 10
    assert len(schedule._newest()) == 200


def test_smoothing_needs_no_teacher_and_flattens_the_student() -> None:
    log, plain = stream(500), alone()
    smooth = make(make_method=lambda family, setting: Smoothing(1.0))
    walk(plain, log)
    walk(smooth, log)
    histories = before_each(stream(564), 500, 564)
    spread: Callable[[SequenceRecommender], float] = lambda r: float(r.score(histories)[:, 2:].std(1).mean())  # noqa: E731
    assert spread(smooth) < spread(plain)


def test_they_are_offered_by_name() -> None:
    assert {"sasrec-direct", "sasrec-auxiliary", "sasrec-ranking", "caser-auxiliary"} <= set(recommenders())
