"""A trial of a version at one server, on a real registry with graphs that ONNX Runtime runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from exporters.announcements import Announcement
from exporters.canary import Canary, CanaryRules
from exporters.registry import Draft, GraphFile, Registry
from exporters.runtime import ModelHost
from streamer.settings import Serving
from streamer.version_trials import VersionTrials, canary_of

USERS = [f"u{number}" for number in range(300)]


class World:
    """A host that serves a first version, with trials for half of the users."""

    def __init__(self, folder: Path, share: float = 0.5) -> None:
        self.now = 0.0
        self.registry = Registry(folder, keep=2)
        self.share = share
        self.first = self.publish(1)
        self.told: list[Announcement] = []
        self.start()

    def start(self) -> None:
        self.host = ModelHost(registry=self.registry)
        self.host.start()
        rules = CanaryRules(share=self.share, seconds=60, fewest=30)
        self.canary = Canary(rules, clock=lambda: self.now)
        self.trials = VersionTrials(self.host, self.registry, self.canary, self.told.append)

    def publish(self, step: int) -> str:
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["B"]) for end in ("given", "logits")]
        graph = helper.make_graph([helper.make_node("Identity", ["given"], ["logits"])], "g", ends[:1], ends[1:])
        content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        file = GraphFile(content=content.SerializeToString(), architecture="a", inputs=("given",), outputs=("logits",))
        return self.registry.publish(Draft(name="student", graphs={"rank": file}, step=step)).version

    def serve(self, hits_of_new: float) -> None:
        for number, user in enumerate(USERS):
            self.canary.count_list(user, fallback=False)
            if number % 10 < (10 * hits_of_new if self.canary.tries(user) else 5):
                self.canary.count_outcome(user)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_good_version_serves_everybody_after_its_time_and_the_newest_of_those_that_waited_is_next(world) -> None:
    second = world.publish(2)
    assert world.trials.offer(second) and world.host.version == world.first
    assert world.registry.trial("student").version == second
    waiting = [world.publish(step) for step in (3, 4, 5)]
    assert all(world.trials.offer(version) for version in waiting)
    assert {world.first, second} <= set(world.registry.versions("student")), "both stay, although old ones retire"
    world.serve(0.5)
    world.trials.judge()
    assert world.host.version == world.first, "not yet"
    world.now = 61
    world.trials.judge()
    assert world.host.version == second and world.canary.trial.version == waiting[-1]


def test_a_worse_version_is_refused_and_rolled_back_everywhere(world) -> None:
    second = world.publish(2)
    world.trials.offer(second)
    world.serve(0.0)
    world.trials.judge()
    assert world.host.version == world.first and world.host.pinned and world.canary.trial is None
    assert [(one.kind, one.version) for one in world.told] == [("refused", second), ("rolled_back", world.first)]
    assert "canary: 0.000 interactions a list" in world.told[0].reason
    pointer = world.registry.current("student")
    assert pointer.version == world.first and pointer.pinned and "canary" in pointer.reason
    assert not world.trials.offer(world.publish(3)), "a pin is for people to lift"


def test_a_damaged_version_is_not_tried_and_not_served(world) -> None:
    second = world.publish(2)
    (world.registry.folder("student", second) / "rank.onnx").write_bytes(b"!")
    assert world.trials.offer(second) and world.canary.trial is None and world.host.version == world.first


def test_a_trial_goes_on_over_a_restart(world) -> None:
    second = world.publish(2)
    world.trials.offer(second)
    world.start()
    assert world.host.version == second, "the registry points to the newest"
    world.trials.resume()
    assert world.host.version == world.first and world.canary.trial.version == second


def test_a_rollback_ends_the_trial(world) -> None:
    world.trials.offer(world.publish(2))
    world.trials.cancel()
    assert not world.trials.under_way and world.registry.trial("student") is None
    world.now = 100
    world.trials.judge()
    assert world.host.version == world.first


def test_without_a_share_and_without_a_version_there_is_nothing_to_try(tmp_path: Path) -> None:
    off = World(tmp_path, share=0.0)
    assert not off.trials.offer(off.publish(2))
    assert not canary_of(Serving()).on and canary_of(Serving(canary_share=0.1)).on


def test_another_share_in_the_middle_of_a_trial_is_noted(world) -> None:
    world.trials.offer(world.publish(2))
    world.canary.change(CanaryRules(share=0.1, seconds=60))
    world.trials.judge()
    assert world.registry.trial("student").share == 0.1 and world.trials.under_way


def test_turned_off_in_the_middle_of_a_trial_the_newest_version_serves_everybody(world) -> None:
    world.trials.offer(world.publish(2))
    newest = world.publish(3)
    assert world.trials.offer(newest)
    world.canary.change(CanaryRules())
    world.trials.judge()
    assert world.host.version == newest and not world.trials.under_way
    assert world.registry.trial("student") is None


def test_turned_off_in_the_middle_of_its_trial_a_worse_version_is_refused_all_the_same(world) -> None:
    second = world.publish(2)
    world.trials.offer(second)
    world.serve(0.0)
    world.canary.change(CanaryRules(fewest=30))
    world.trials.judge()
    assert world.host.version == world.first and world.told[0].version == second
