from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from exporters.errors import RegistryError
from online_models import state_tree
from online_models.optim import Clippy
from online_models.optim.grouped import Grouped
from streamer.drift.hands import Errand, LearningRate, Replay, groups
from streamer.drift.policy import Policy
from streamer.drift.records import Alarm, Request, Window, decode, encode
from streamer.drift.settings import Drift
from streamer.replay_buffer import ReplayBuffer


def alarm(signal: str = "loss", number: int = 100) -> Alarm:
    window = Window(examples=10, mean=1.0)
    return Alarm(
        id=f"{signal}-{number}",
        model="student",
        signal=signal,
        detector="adwin",
        since_example=number,
        until_example=number + 10,
        since_ms=1,
        until_ms=2,
        statistic=5.0,
        before=window,
        after=window,
    )


class Scene:
    def __init__(self, **settings: Any) -> None:
        self.said: list[str] = []
        slow, fast = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
        self.optimizer = Clippy(Grouped(torch.optim.SGD([slow], lr=0.1), torch.optim.SGD([fast], lr=0.3)))
        self.replay = ReplayBuffer(share=0.25)
        self.hands = {
            "learning_rate": LearningRate(self.optimizer),
            "replay": Replay(self.replay),
            "refresh_teacher": Errand(self.said.append, lambda: self.said.append("undone")),
        }
        actions = {"loss": ["learning_rate", "refresh_teacher"], "harm": ["replay", "hold"]}
        given = {"mode": "act", "for_examples": 1_000, "cooldown_examples": 3_000, "actions": actions} | settings
        self.settings = Drift.model_validate(given)
        self.policy = self.again()

    def again(self) -> Policy:
        return Policy(self.settings, "student", dict(self.hands))

    @property
    def rates(self) -> list[float]:
        return [group["lr"] for group in groups(self.optimizer)]


def test_an_action_begins_with_its_alarm_and_ends_by_itself() -> None:
    scene = Scene()
    first, second = scene.policy.alarmed(alarm(), 100)
    assert (first.kind, first.state, first.alarm, first.until_example) == (
        "learning_rate",
        "started",
        "loss-100",
        1_100,
    )
    assert scene.rates == [0.2, 0.6] and second.state == "started" and len(scene.said) == 1
    assert scene.policy.tick(1_099) == []
    ended = scene.policy.tick(1_100)
    assert [(one.id, one.state) for one in ended] == [(first.id, "ended")] and scene.rates == [0.1, 0.3]
    assert scene.said[-1] != "undone", "an errand is not taken back by itself"


def test_a_dry_run_says_it_and_changes_nothing() -> None:
    scene = Scene(mode="dry-run")
    assert [one.state for one in scene.policy.alarmed(alarm(), 100)] == ["dry-run", "dry-run"]
    assert scene.rates == [0.1, 0.3] and scene.said == [] and not scene.policy.running


def test_a_cooldown_and_a_running_action_refuse_the_next() -> None:
    scene = Scene()
    scene.policy.alarmed(alarm(), 100)
    again = scene.policy.alarmed(alarm(number=500), 500)
    assert [one.state for one in again] == ["refused", "refused"] and "active" in again[0].reason
    scene.policy.tick(1_100)
    late = scene.policy.alarmed(alarm(number=2_000), 2_000)
    assert late[0].state == "refused" and "cooldown" in late[0].reason and scene.rates == [0.1, 0.3]
    assert scene.policy.alarmed(alarm(number=3_100), 3_100)[0].state == "started"


def test_an_operator_takes_back_what_is_active_and_is_told_where_nothing_is() -> None:
    scene = Scene()
    rate, errand = scene.policy.alarmed(alarm(), 100)
    for one in (rate, errand):
        reverted = scene.policy.asked(Request(model="student", wish="revert", subject=one.id, reason="no"), 200)
        assert (reverted[0].id, reverted[0].state, reverted[0].reason) == (one.id, "reverted", "no")
    assert scene.rates == [0.1, 0.3] and scene.said[-1] == "undone"
    refused = scene.policy.asked(Request(model="student", wish="revert", subject=rate.id), 300)
    assert refused[0].state == "refused" and "no such action" in refused[0].reason


def test_an_operator_begins_an_action_even_where_the_policy_is_dry() -> None:
    scene = Scene(mode="dry-run")
    begun = scene.policy.asked(Request(model="student", wish="start", subject="replay"), 50)
    assert begun[0].state == "started" and scene.replay.share == 0.5
    unknown = scene.policy.asked(Request(model="student", wish="start", subject="dance"), 60)
    assert unknown[0].state == "refused" and "learning_rate" in unknown[0].reason


def test_a_kind_that_this_process_cannot_do_is_refused() -> None:
    scene = Scene()
    done = scene.policy.alarmed(alarm("harm"), 10)
    assert [(one.kind, one.state) for one in done] == [("replay", "started"), ("hold", "refused")]


def test_a_hand_that_fails_is_a_refusal_with_its_reason() -> None:
    scene = Scene()

    def fail(reason: str) -> None:
        raise RegistryError("there is no version before")

    scene.policy.hands["refresh_teacher"] = Errand(fail)
    refused = scene.policy.alarmed(alarm(), 10)[1]
    assert refused.state == "refused" and refused.reason == "there is no version before"
    assert refused.id not in scene.policy.running


def test_a_restart_goes_on_with_what_is_active_and_puts_back_what_was_before() -> None:
    scene = Scene()
    first, _ = scene.policy.alarmed(alarm(), 100)
    state = state_tree.unpack(*state_tree.pack(scene.policy.state_dict()))
    words = len(scene.said)
    scene.hands["learning_rate"].put_back([0.1, 0.3])  # another process: settings, not what was raised
    again = scene.again()
    again.load_state_dict(state)
    assert scene.rates == [0.2, 0.6] and len(scene.said) == words, "raised again, and no word is sent twice"
    assert [one.id for one in again.tick(1_100)] == [first.id] and scene.rates == [0.1, 0.3]
    assert again.alarmed(alarm(number=1_200), 1_200)[0].state == "refused", "the cooldown goes on too"


def test_nothing_stays_raised_when_it_is_switched_off() -> None:
    scene = Scene()
    scene.policy.alarmed(alarm(), 100)
    assert [one.kind for one in scene.policy.end_all()] == ["learning_rate"] and scene.rates == [0.1, 0.3]


def test_replay_is_never_lowered() -> None:
    scene = Scene(replay_share=0.1)
    scene.policy.alarmed(alarm("harm"), 10)
    assert scene.replay.share == 0.25


def test_records_come_back_as_they_were() -> None:
    scene = Scene()
    for record in (alarm(), *scene.policy.alarmed(alarm(), 100), Request(model="m", wish="start", subject="replay")):
        assert decode(encode(record)) == record


def test_settings_name_the_signals_that_there_are() -> None:
    with pytest.raises(ValidationError, match="no signal is called mood; there are loss"):
        Drift.model_validate({"actions": {"mood": ["replay"]}})
