from __future__ import annotations

from collections import Counter

import numpy as np

from streamer.events import validate
from streamer.sources.simulated_world import DAY_MS, World, WorldConfig
from streamer.sources.simulator import SimulatorSource


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    first, again = (list(SimulatorSource(limit=500).events()) for _ in range(2))
    other = list(SimulatorSource(WorldConfig(seed=8), limit=500).events())
    assert first == again and first != other


def test_every_event_is_good_and_clicks_lie_in_their_slates() -> None:
    slates: dict[str, list[str]] = {}
    for event in SimulatorSource(limit=3_000).events():
        validate(event)
        if event.type == "impression":
            slates[event.impression_id or ""] = event.items or []
        else:
            assert event.item_id in slates[event.impression_id or ""]


def test_clicks_fall_with_the_position() -> None:
    positions, slates = Counter[int](), dict[str, list[str]]()
    for event in SimulatorSource(limit=20_000).events():
        if event.type == "impression":
            slates[event.impression_id or ""] = event.items or []
        elif event.action == "click":
            positions[slates[event.impression_id or ""].index(event.item_id or "")] += 1
    assert positions[0] > 2 * positions[4] > 2 * positions[9] > 0


def test_new_items_enter_and_are_used() -> None:
    source = SimulatorSource(WorldConfig(new_items_per_day=200.0), limit=30_000)
    last_ms = max(event.event_time_ms for event in source.events())
    new = {e.item_id for e in source.items() if source.config.start_ms < e.event_time_ms <= last_ms}
    used = {event.item_id for event in source.events() if event.type == "interaction"}
    assert len(new) > 100 and len(new & used) > len(new) / 4


def test_the_intent_holds_a_session_together() -> None:
    source = SimulatorSource(limit=20_000)
    category = {event.item_id: (event.categories or [""])[0] for event in source.items()}
    clicks: dict[str, list[str]] = {}
    for event in source.events():
        if event.action == "click":
            clicks.setdefault(event.event_id.rpartition(":")[0], []).append(category[event.item_id])
    pairs = [a == b for session in clicks.values() for a, b in zip(session, session[1:], strict=False)]
    assert sum(pairs) / len(pairs) > 0.5  # 20 categories: 0.05 by chance


def test_a_drift_changes_the_tastes_of_some_users_at_once() -> None:
    config = WorldConfig()
    world = World(config, days=5)
    before = world.taste.copy()
    world.move_to(config.start_ms + int(1.9 * DAY_MS))
    assert np.array_equal(world.taste, before)
    world.move_to(config.start_ms + int(2.1 * DAY_MS))
    changed = np.any(world.taste != before, axis=1).mean()
    assert 0.15 < changed < 0.35
    after = world.taste.copy()
    world.move_to(config.start_ms + int(2.1 * DAY_MS))
    assert np.array_equal(world.taste, after)


def test_a_limit_cuts_a_longer_stream_even_behind_a_drift() -> None:
    config = WorldConfig(sessions_per_day=100.0)
    short = list(SimulatorSource(config, limit=2_000).events())
    assert short[-1].event_time_ms > config.start_ms + config.drift_every_days * DAY_MS
    long = SimulatorSource(config, limit=6_000)
    assert [event for event, _ in zip(long.events(), short, strict=False)] == short


def test_items_of_a_longer_stream_begin_like_those_of_a_short_one() -> None:
    short, long = World(WorldConfig(), days=1), World(WorldConfig(), days=9)
    count = len(short.quality)
    for name in ("category", "item_vector", "quality", "price", "published_ms"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[:count]), name
