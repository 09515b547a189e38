"""Soft labels of a whole student: waiting, joining, the store of a late student, the twin, exact resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from online_models import state_tree
from streamer.examples import Example
from streamer.label_store import LabelStore
from streamer.label_writer import LabelWriter
from streamer.settings import Labels, Settings
from streamer.snapshots import SnapshotStore
from streamer.soft_labels import SoftLabel, encode
from streamer.student import Student

SETTLED = 48  # examples that are learnt before there is a teacher


@pytest.fixture
def settings(small_settings: Settings) -> Settings:
    labels = Labels(wait_seconds=5, staleness_seconds=60, waiting_examples=64)
    learning = small_settings.learning.model_copy(update={"replay_share": 0.0})
    return small_settings.model_copy(update={"labels": labels, "learning": learning})


class Clock:
    """Wall clock of the tests."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def start(settings: Settings, walk, example) -> Callable[..., Student]:
    """Make a student that has learnt 48 examples and stands a second behind them."""

    def make(**changes: Any) -> Student:
        changed = settings.model_copy(update={"learning": settings.learning.model_copy(update=changes)})
        student = Student(changed)
        if student.soft is not None:
            student.soft.clock_ms = Clock(example(SETTLED).published_time_ms - 4_000)
        student.learn(walk(SETTLED))
        if student.soft is not None:
            student.soft.clock_ms.now_ms += 5_000
            student.distill()  # no teacher within the first 5 s
        return student

    return make


@pytest.fixture
def teach(soft_label) -> Callable[..., list[SoftLabel]]:
    """A teacher that prefers the items with high numbers."""

    def make(examples: list[Example], **fields: Any) -> list[SoftLabel]:
        return [
            soft_label(one, {f"i{number}": number / 2 for number in range(11, 3, -1)}, **fields) for one in examples
        ]

    return make


def weights(student: Student) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in student.network.ranker.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def figures(student: Student) -> tuple[int, int, int]:
    assert student.soft is not None
    return student.soft.figures.joined, student.soft.figures.missed - SETTLED, student.soft.figures.stale


class TestWaiting:
    def test_hard_labels_are_learnt_at_once_and_soft_ones_when_they_come(self, start, walk, teach) -> None:
        student, batch = start(), walk(8, SETTLED)
        student.soft.held.add(teach(walk(1, 90)))  # of somebody else: there is a teacher
        before = weights(student)
        student.learn(batch)
        hard = weights(student)
        assert not same(before, hard), "fresh as ever"
        assert student.distill() == {} and same(hard, weights(student)) and len(student.soft.waiting) == 1
        student.soft.held.add(teach(batch[:5]))
        assert student.distill() == {}, "three are missing still"
        student.soft.held.add(teach(batch[5:]))
        assert student.distill()["soft_loss"] > 0 and not same(hard, weights(student))
        assert figures(student) == (8, 0, 0) and len(student.soft.held) == 1

    def test_what_has_no_label_in_time_learns_by_its_hard_label_alone(self, start, walk, teach) -> None:
        student, batch = start(), walk(8, SETTLED)
        student.soft.held.add(teach(batch[:2]))
        student.learn(batch)
        student.soft.clock_ms.now_ms += 4_999
        assert student.distill() == {}
        student.soft.clock_ms.now_ms += 1
        assert student.distill()["soft_loss"] > 0 and figures(student) == (2, 6, 0)
        assert student.soft.figures.coverage == 2 / (SETTLED + 8)

    def test_a_batch_without_any_label_takes_no_step(self, start, walk, teach) -> None:
        student, batch = start(), walk(8, SETTLED)
        student.soft.held.add(teach(walk(1, 90)))
        student.learn(batch)
        hard = weights(student)
        student.soft.clock_ms.now_ms += 60_000
        assert student.distill() == {} and same(hard, weights(student)) and figures(student) == (0, 8, 0)
        assert len(student.soft.waiting) == 0

    def test_a_label_that_was_given_too_late_is_dropped(self, start, walk, teach) -> None:
        student, batch = start(), walk(8, SETTLED)
        late_ms = batch[0].published_time_ms + 60_001
        student.soft.held.add(teach(batch[:1], labelled_ms=late_ms))
        student.soft.held.add(teach(batch[1:]))
        student.learn(batch)
        student.distill()
        assert figures(student) == (7, 1, 1)

    def test_without_a_teacher_nothing_waits(self, start, walk) -> None:
        student = start()
        student.learn(walk(8, SETTLED))
        assert len(student.soft.waiting) == 0 and figures(student) == (0, 8, 0)

    def test_a_teacher_that_starts_beside_the_student_labels_its_first_batch(self, settings, walk, teach) -> None:
        student, batch = Student(settings), walk(SETTLED)
        student.soft.clock_ms = Clock(batch[-1].published_time_ms)
        student.learn(batch)
        assert student.distill() == {} and len(student.soft.waiting) == 1
        student.soft.held.add(teach(batch))
        student.distill()
        assert student.soft.figures.coverage == 1 and len(student.soft.waiting) == 0

    def test_labels_that_come_before_their_example(self, start, walk, teach) -> None:
        student, batch = start(), walk(8, SETTLED)
        student.soft.held.add(teach(batch))
        student.learn(batch)
        assert student.distill()["soft_loss"] > 0 and figures(student) == (8, 0, 0)

    def test_agreement_is_of_the_teacher_with_what_was_taken(self, start, example, soft_label) -> None:
        student = start()
        made = [example(SETTLED + n, f"w{n}", f"i{n}", history=["i9"]) for n in range(4)]
        told = [{"i0": 2.0, "i5": 1.0}, {"i5": 2.0, "i1": 1.0}, {"i5": 2.0}, {"i3": 1.0}]
        student.soft.held.add(soft_label(one, logits) for one, logits in zip(made, told, strict=True))
        student.learn(made)
        student.distill()
        assert (student.soft.figures.agreement(1), student.soft.figures.agreement(10)) == (0.5, 0.75)

    def test_rows_that_moved_are_published(self, start, walk, teach) -> None:
        student, batch = start(), walk(8, SETTLED)
        student.soft.held.add(teach(batch))
        student.learn(batch)
        student.release_moved()
        student.take_rows()
        before = student.network.ranker.items.weight.detach().clone()
        student.distill()
        student.release_moved()
        told = {row.row for row in student.take_rows()}
        changed = (student.network.ranker.items.weight != before).any(1).nonzero().flatten().tolist()
        assert changed and set(changed) - {0, 1} <= told

    def test_switched_off_there_is_nothing_of_it(self, start, walk) -> None:
        student = start(distillation="off")
        student.learn(walk(8, SETTLED))
        assert student.soft is None and student.distill() == {} and "soft" not in student.state_dict()


class TestLateStudent:
    """A student that joins late learns its backlog by the store alone."""

    @pytest.fixture
    def stored(self, settings: Settings, walk, teach) -> LabelStore:
        writer = LabelWriter(settings.stores.labels_dir)
        for offset, label in enumerate(teach(walk(40, SETTLED))):
            writer.add(0, offset, encode(label))
        writer.flush()
        return LabelStore(settings.stores.labels_dir)

    def test_its_backlog_is_joined_without_a_topic(self, start, walk, stored: LabelStore) -> None:
        student = start()
        student.soft.store = stored
        student.soft.clock_ms.now_ms += 86_400_000  # a day later
        for first in range(0, 40, 8):
            student.learn(walk(8, SETTLED + first))
            assert student.distill()["soft_loss"] > 0
        assert figures(student) == (40, 0, 0)

    def test_it_learns_what_it_would_have_learnt_in_time(self, start, walk, teach, stored: LabelStore) -> None:
        late, live = start(), start()
        late.soft.store = stored
        late.soft.clock_ms.now_ms += 86_400_000
        for first in range(0, 40, 8):
            live.soft.held.add(teach(walk(8, SETTLED + first)))
            for student in (late, live):
                student.learn(walk(8, SETTLED + first))
                student.distill()
        assert same(weights(late), weights(live))

    def test_fresh_examples_do_not_ask_the_store(self, start, walk, teach, stored: LabelStore) -> None:
        student = start()
        student.soft.held.add(teach(walk(1, 90)))
        student.soft.store = stored
        student.soft.clock_ms.now_ms = walk(1, SETTLED)[0].published_time_ms
        student.learn(walk(1, SETTLED))
        assert student.distill() == {} and len(student.soft.held) == 1


class TestTwin:
    def test_it_differs_by_the_soft_labels_alone(self, start, walk, teach) -> None:
        student = start(hard_twin=True, replay_share=0.5)
        twin = student.twin.ranker
        assert same(weights(student), [one.detach() for one in twin.parameters()]), "the same until there is a teacher"
        batch = walk(8, SETTLED)
        student.soft.held.add(teach(batch))
        student.learn(batch)
        assert same(weights(student), [one.detach() for one in twin.parameters()])
        student.distill()
        assert not same(weights(student), [one.detach() for one in twin.parameters()])
        assert student.network.learner.steps == student.twin.learner.steps + 1

    def test_it_is_what_the_student_would_be_without_a_teacher(self, start, walk, teach) -> None:
        student, alone = start(hard_twin=True, replay_share=0.5), start(distillation="off", replay_share=0.5)
        for first in range(SETTLED, SETTLED + 40, 8):
            student.soft.held.add(teach(walk(8, first)))
            student.learn(walk(8, first))
            student.distill()
            alone.learn(walk(8, first))
        assert same(weights(alone), [one.detach() for one in student.twin.ranker.parameters()])
        assert not same(weights(alone), weights(student))

    def test_it_is_scored_on_the_same_batches(self, start, walk) -> None:
        student = start(hard_twin=True)
        for first in range(SETTLED, SETTLED + 64, 8):
            student.learn(walk(8, first))
        quality = student.prequential.read()
        assert quality["hard_only_ndcg@10"] == quality["ndcg@10"] > 0, "without a teacher they are the same"

    def test_one_that_comes_later_starts_where_the_student_stands(self, start, walk, teach) -> None:
        old, new = start(), start(hard_twin=True)
        old.soft.held.add(teach(walk(8, SETTLED)))
        old.learn(walk(8, SETTLED))
        old.distill()
        new.load_state_dict(old.state_dict())
        assert same(weights(old), [one.detach() for one in new.twin.ranker.parameters()])


class TestResume:
    def test_learning_goes_on_bit_for_bit_with_batches_that_wait(self, start, walk, teach, tmp_path) -> None:
        student, again = start(hard_twin=True, replay_share=0.5), start(hard_twin=True, replay_share=0.5)
        batches = [walk(8, first) for first in range(SETTLED, SETTLED + 48, 8)]
        student.soft.held.add(teach([*batches[0], *batches[1][:4]]))
        for batch in batches[:3]:
            student.learn(batch)
        student.distill()
        assert len(student.soft.waiting) == 2 and len(student.soft.held) == 4
        store = SnapshotStore(tmp_path / "snapshots")
        store.save(student.state_dict(), {})
        snapshot = store.latest()
        assert snapshot is not None
        again.load_state_dict(snapshot.state)
        for one in (student, again):
            one.soft.held.add(teach([*batches[1][4:], *batches[2], *batches[3]]))
            for batch in batches[3:]:
                one.learn(batch)
                one.distill()
        assert state_tree.equal(again.network.state_dict(), student.network.state_dict())
        assert state_tree.equal(again.twin.state_dict(), student.twin.state_dict())
        assert state_tree.equal(again.soft.state_dict(), student.soft.state_dict())
        assert len(again.soft.waiting) == 2

    def test_a_snapshot_of_before_there_were_soft_labels_is_read(self, start, walk) -> None:
        old, new = start(distillation="off"), start()
        old.learn(walk(8, SETTLED))
        new.load_state_dict(old.state_dict())
        assert same(weights(old), weights(new))


def test_an_item_that_leaves_teaches_its_successor_nothing(settings: Settings, example, soft_label) -> None:
    sizes = settings.learning.model_copy(update={"catalog_rows": 16})
    student = Student(settings.model_copy(update={"learning": sizes}))
    student.soft.clock_ms = Clock(example(20).published_time_ms)
    student.soft.held.add([soft_label(example(99), {"i1": 1.0})])
    made = [example(number, f"u{number}", f"i{number}") for number in range(14)]
    student.learn(made)
    row = student.memory.catalog.row("i0")
    student.learn([example(20, "new", "newcomer")])
    assert student.memory.catalog.row("newcomer") == row
    student.soft.held.add(soft_label(one, {"i0": 5.0, "i1": 1.0}) for one in made)
    student.soft.clock_ms.now_ms += 60_000
    (batch,) = student.soft.take()
    assert not (batch.candidates.items == row).any() and np.isfinite(batch.teacher_logits.numpy()).any()
