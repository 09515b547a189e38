from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from streamer.events import Event
from streamer.sources.simulated_drift import PlannedDrift, Subject
from streamer.sources.simulated_world import DAY_MS, World, WorldConfig
from streamer.sources.simulator import SimulatorSource

CALM = WorldConfig(users=300, items=400, drift_every_days=1e9, wander=0.0, sessions_per_day=600.0)
HALF = CALM.start_ms + DAY_MS


def both_sides(subject: Subject, number: int = 8_000) -> tuple[list[Event], list[Event]]:
    planned = (PlannedDrift(subject=subject, at_day=1.0),)
    events = list(SimulatorSource(replace(CALM, planned=planned), limit=number).events())
    return [e for e in events if e.event_time_ms < HALF], [e for e in events if e.event_time_ms >= HALF]


def searched(events: list[Event]) -> float:
    surfaces = Counter(event.surface for event in events if event.type == "impression")
    return surfaces["search"] / surfaces.total()


def shown(world: World, events: list[Event]) -> float:
    items = [int(item[1:]) for event in events for item in event.items or ()]
    return float(world.quality[items].mean())


def clicked(world: World, events: list[Event]) -> float:
    return float(np.mean([world.quality[int((e.item_id or "i0")[1:])] for e in events if e.action == "click"]))


@pytest.mark.parametrize("course", ["sudden", "gradual", "recurring"])
def test_nothing_moves_before_the_beginning(course: str) -> None:
    drift = PlannedDrift(course=course, at_day=2.0, over_days=1.0)  # type: ignore[arg-type]
    assert drift.extent(1.99) == 0 and drift.extent(2.5) > 0


def test_what_recurs_goes_there_and_back() -> None:
    drift = PlannedDrift(course="recurring", at_day=1.0, over_days=2.0)
    assert [drift.extent(day) for day in (0.5, 2.0, 4.0, 6.0)] == [0.0, 1.0, 0.0, 1.0]


def test_the_stream_before_the_drift_is_that_without_one() -> None:
    before, _ = both_sides("tastes", 3_000)
    assert before == list(SimulatorSource(CALM, limit=len(before)).events())


def test_drifting_features_move_surfaces() -> None:
    before, after = both_sides("features")
    assert searched(after) > searched(before) + 0.15


def test_drifting_labels_turn_clicks_and_leave_lists() -> None:
    world = World(CALM, days=10.0)
    before, after = both_sides("labels")
    assert shown(world, after) == pytest.approx(shown(world, before), abs=0.1)
    assert clicked(world, before) > 0.3 > 0 > clicked(world, after)


def test_a_gradual_drift_takes_users_one_by_one_and_a_recurring_one_gives_them_back() -> None:
    planned = PlannedDrift(course="gradual", at_day=1.0, over_days=1.0)
    world = World(replace(CALM, planned=(planned,)), days=3.0)
    first = world.taste.copy()
    changed = []
    for day in (0.5, 1.5, 2.5):
        world.move_to(CALM.start_ms + int(day * DAY_MS))
        changed.append(float((world.taste != first).any(1).mean()))
    assert changed[0] == 0 and 0.3 < changed[1] < 0.7 and changed[2] == 1
    back = World(replace(CALM, planned=(replace(planned, course="recurring"),)), days=3.0)
    for day, same in ((1.5, False), (2.5, True)):
        back.move_to(CALM.start_ms + int(day * DAY_MS))
        assert (
            np.array_equal(back.taste, first) is same and np.array_equal(back.quality, World(CALM, 3.0).quality) is same
        )
