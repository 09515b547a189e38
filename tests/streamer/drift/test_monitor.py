from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from feature_store.user_state import ItemInfo
from online_models import state_tree
from streamer.drift.hands import groups
from streamer.drift.movement import Movement
from streamer.drift.records import Action, Alarm, Request
from streamer.drift.settings import Drift
from streamer.examples import Example
from streamer.settings import Settings
from streamer.student import Student

WINDOWS = {
    "reference_examples": 100,
    "window_examples": 50,
    "names_window_examples": 50,
    "for_examples": 100,
    "cooldown_examples": 400,
}


@pytest.fixture
def make(small_settings: Settings) -> Callable[..., Student]:
    def student(**drift: Any) -> Student:
        given = Drift.model_validate({"mode": "act", "actions": {}} | WINDOWS | drift)
        return Student(small_settings.model_copy(update={"drift": given}))

    return student


def taught(student: Student, examples: list[Example]) -> list[Any]:
    """Learn all of it; returns what the monitor recorded."""
    for first in range(0, len(examples), 32):
        student.learn(examples[first : first + 32])
    assert student.drift is not None
    return student.drift.take_records()


def turned(walk: Callable[..., list[Example]], number: int, first: int, surface: str) -> list[Example]:
    return [msgspec.structs.replace(example, surface=surface) for example in walk(number, first)]


def rates(student: Student) -> list[float]:
    return [group["lr"] for group in groups(student.network.learner.optimizer)]


def test_a_surface_that_takes_over_is_an_alarm_and_its_action_changes_the_learner_for_a_while(make, walk) -> None:
    student = make(actions={"surfaces": ["learning_rate", "replay"]}, learning_rate_factor=3.0, replay_share=0.9)
    student.describe(ItemInfo(item_id="i1", categories=["Drama"]))
    before = rates(student)
    assert taught(student, turned(walk, 384, 0, "home")) == []
    records = taught(student, turned(walk, 128, 384, "search"))
    (alarm,) = [one for one in records if isinstance(one, Alarm)]
    begun = [one for one in records if isinstance(one, Action)]
    assert alarm.signal == "surfaces" and abs(alarm.since_example - 384) <= 64
    assert alarm.since_ms < alarm.until_ms and alarm.statistic > 0.2
    moved = {one.name: (one.before, one.after) for one in alarm.moved if one.kind == "surface"}
    assert moved["search"][0] == 0.0 and moved["search"][1] > 0.5
    assert [(one.kind, one.state, one.alarm) for one in begun] == [
        ("learning_rate", "started", alarm.id),
        ("replay", "started", alarm.id),
    ]
    assert rates(student) == [3.0 * rate for rate in before] and student.replay.share == 0.9
    ended = taught(student, turned(walk, 96, 512, "search"))
    assert [(one.id, one.state) for one in ended] == [(one.id, "ended") for one in begun]
    assert rates(student) == before and student.replay.share == student.settings.learning.replay_share


def shown(walk: Callable[..., list[Example]], number: int, first: int, answered: float) -> list[Example]:
    """Lists that were shown, each tenth of ten answered or not as asked."""
    slate = [f"i{place}" for place in range(10)]
    made = []
    for place, example in enumerate(walk(number, first)):
        if place * 7 % 10 < 10 * answered:
            made.append(msgspec.structs.replace(example, slate=[example.item_id, *slate]))
        else:
            made.append(msgspec.structs.replace(example, kind="impression", item_id=None, action=None, slate=slate))
    return made


def test_lists_that_nobody_answers_any_more_are_an_alarm_long_before_they_are_many(make, walk) -> None:
    student = make(warm_up_examples=320)
    assert taught(student, shown(walk, 960, 0, 0.7)) == []
    alarms = taught(student, shown(walk, 320, 960, 0.2))
    first = next(one for one in alarms if isinstance(one, Alarm))
    assert first.signal == "answers" and first.before.mean == pytest.approx(0.7, abs=0.05)
    assert abs(first.since_example - 960) <= 32 and first.until_example <= 960 + 224


def test_a_quiet_stream_has_no_records(make, walk) -> None:
    assert taught(make(warm_up_examples=50), turned(walk, 416, 0, "home")) == []


def test_a_learner_that_spoils_is_worse_than_its_shadow(make, walk) -> None:
    student = make(shadow_examples=10_000, alpha=1e-3, actions={"harm": ["replay"]})
    student.tested_every = 1
    assert taught(student, walk(192, users=60)) == []
    with torch.no_grad():
        for parameter in student.network.ranker.parameters():
            parameter.mul_(-8.0)
    records = taught(student, walk(160, 192, users=60))
    assert isinstance(records[0], Alarm) and records[0].signal == "harm" and records[0].after.mean > 0
    assert isinstance(records[1], Action) and (records[1].kind, records[1].state) == ("replay", "started")


def test_a_request_reverts_what_runs_and_another_models_request_is_passed_over(make, walk) -> None:
    student = make()
    taught(student, walk(16))
    monitor, before = student.drift, rates(student)
    monitor.ask(Request(model="other", wish="start", subject="learning_rate"))
    assert monitor.take_records() == []
    monitor.ask(Request(model="student", wish="start", subject="learning_rate"))
    (begun,) = monitor.take_records()
    assert rates(student) == [2.0 * rate for rate in before]
    monitor.ask(Request(model="student", wish="revert", subject=begun.id))
    assert monitor.take_records()[0].state == "reverted" and rates(student) == before


def test_an_action_outlives_a_restart_and_still_ends(make, walk) -> None:
    student, again = make(), make()
    before = rates(student)
    taught(student, walk(32))
    student.drift.ask(Request(model="student", wish="start", subject="learning_rate"))
    again.load_state_dict(state_tree.unpack(*state_tree.pack(student.state_dict())))
    assert rates(again) == [2.0 * rate for rate in before]
    assert [one.state for one in taught(again, walk(128, 32))] == ["ended"] and rates(again) == before


def test_switched_off_it_leaves_nothing_raised(make, walk) -> None:
    student, off = make(), make(mode="off")
    before = rates(student)
    taught(student, walk(32))
    student.drift.ask(Request(model="student", wish="start", subject="learning_rate"))
    off.load_state_dict(state_tree.unpack(*state_tree.pack(student.state_dict())))
    assert off.drift is None and rates(off) == before


def test_watching_alone_changes_nothing_that_is_learnt(make, walk) -> None:
    watched, alone = make(mode="dry-run"), make(mode="off")
    for first in range(0, 96, 16):
        watched.learn(walk(16, first))
        alone.learn(walk(16, first))
    assert state_tree.equal(watched.network.state_dict(), alone.network.state_dict())


def test_movement_keeps_the_latest_users_and_comes_back_from_its_state() -> None:
    movement, again = Movement(users=2), Movement(users=2)
    movement.observe(["a", "b", "c"], torch.eye(3))
    again.load_state_dict(state_tree.unpack(*state_tree.pack(movement.state_dict())))
    for one in (movement, again):
        moved = one.observe(["c", "a"], torch.eye(3)[[2, 0]])
        assert moved[0].item() == pytest.approx(0) and moved[1].isnan()
