from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from feature_store.user_state import ItemInfo
from feature_store.vectors import NAMES
from streamer import dead_letter, examples, topics
from streamer.effects import Effects
from streamer.examples import Example, Position
from streamer.pipeline import SessionPipeline
from streamer.settings import Settings
from streamer.state import PartitionState

ITEMS = {"i": ItemInfo(item_id="i", categories=["drama"])}


@pytest.fixture
def pipeline(open_state: Callable[[], PartitionState], own_settings: Settings) -> SessionPipeline:
    return SessionPipeline(3, open_state(), ITEMS, own_settings)


def advance(pipeline: SessionPipeline, records: list[Any]) -> Effects:
    effects = pipeline.process(records)
    assert effects is not None
    pipeline.state.commit(effects)
    return effects


def written(effects: Effects) -> list[Example]:
    return [examples.decode(one.value) for one in effects.messages if one.topic == topics.EXAMPLES.name]


def test_an_interaction_becomes_an_example_of_the_moment_before(pipeline: SessionPipeline, stream: Any) -> None:
    effects = advance(pipeline, stream.records(stream.click("a", item_id="x"), stream.click("b", seconds=1)))
    first, second = written(effects)
    assert (first.history.item_ids, first.session_length, first.source) == ([], 0, Position(3, 0, 0))
    assert (second.history.item_ids, second.session_length, second.source) == (["x"], 1, Position(3, 1, 0))
    assert len(second.features) == len(NAMES)
    assert first.features != second.features
    assert second.published_time_ms == stream.start_ms + 1


def test_a_batch_or_one_by_one_gives_the_same(
    open_state: Callable[[], PartitionState], own_settings: Settings, stream: Any
) -> None:
    events = [
        stream.click(f"e{n}", f"u{n % 3}", n * 7, item_id=f"i{n % 5}")
        if n % 4
        else stream.shown(f"e{n}", f"u{n % 3}", n * 7)
        for n in range(60)
    ]
    records = stream.records(*events)
    whole = SessionPipeline(3, open_state(), ITEMS, own_settings)
    at_once = written(advance(whole, records))
    users = {name: record.user for name, record in whole.state.load(["u0", "u1", "u2"]).items()}
    whole.state._connection.execute("DELETE FROM users")
    whole.state._connection.execute("DELETE FROM event_ids")
    whole.state._connection.execute("DELETE FROM log_entries")
    whole.state._connection.execute("UPDATE applied SET offset = -1")
    single = SessionPipeline(3, open_state(), ITEMS, own_settings)
    one_by_one = [example for record in records for example in written(advance(single, [record]))]
    assert one_by_one == at_once
    assert {name: record.user for name, record in single.state.load(users).items()} == users


def test_redelivered_offsets_are_skipped_and_repeated_ids_are_counted(pipeline: SessionPipeline, stream: Any) -> None:
    records = stream.records(stream.click("a"), stream.click("a"), stream.click("b"))
    effects = advance(pipeline, records)
    assert (effects.counters["consumed"], effects.counters["duplicates"]) == (3, 1)
    assert [one.example_id for one in written(effects)] == ["a", "b"]
    assert pipeline.process(records) is None
    later = advance(pipeline, stream.records(stream.click("b"), first_offset=3))
    assert later.counters["duplicates"] == 1 and written(later) == [] and later.log == []


def test_bad_records_become_dead_letters_and_the_rest_goes_on(pipeline: SessionPipeline, stream: Any) -> None:
    records = stream.records(b"{not json", stream.click("a"), None, stream.click("old", event_time_ms=5), b"\xff\xfe")
    effects = advance(pipeline, records)
    letters = [dead_letter.from_record(one.value) for one in effects.messages if one.topic == topics.DEAD_LETTER.name]
    assert [(one.partition, one.offset, one.topic) for one in letters] == [
        (3, n, topics.EVENTS.name) for n in (0, 2, 3, 4)
    ]
    assert letters[2].reason == "time_out_of_range"
    assert effects.counters["dead_letter"] == 4 and effects.counters["consumed"] == 1
    assert [one.example_id for one in written(effects)] == ["a"]
    assert pipeline.state.applied.offset == 4


def test_catalogue_events_on_the_wrong_topic_are_passed_on(pipeline: SessionPipeline, stream: Any) -> None:
    item = {"event_id": "c", "type": "item", "item_id": "new", "event_time_ms": stream.start_ms}
    effects = advance(pipeline, stream.records(item))
    assert [(one.topic, one.key) for one in effects.messages] == [(topics.ITEMS.name, b"new")]
    assert len(effects.log) == 1


def test_late_events_are_merged_marked_and_counted(pipeline: SessionPipeline, stream: Any) -> None:
    clicks = [stream.click(name, seconds=at, item_id=name) for name, at in (("a", 0), ("c", 20), ("b", 10))]
    effects = advance(pipeline, stream.records(*clicks))
    late = written(effects)[2]
    assert late.late and late.history.item_ids == ["a"]
    assert effects.counters["late"] == 1
    assert effects.records["u"].user.item_ids == ["a", "b", "c"]


def test_slates_answered_and_unanswered(pipeline: SessionPipeline, stream: Any) -> None:
    events = [
        stream.shown("s1", seconds=0),
        stream.shown("s2", seconds=1),
        stream.click("k", seconds=2, item_id="b", impression_id="s2"),
        stream.click("far", seconds=100),
    ]
    found = written(advance(pipeline, stream.records(*events)))
    assert [(one.example_id, one.kind, one.source.offset, one.source.index) for one in found] == [
        ("k", "interaction", 2, 0),
        ("s1", "impression", 3, 0),
        ("far", "interaction", 3, 1),
    ]
    assert found[0].outcomes == [0, 1] and found[1].outcomes == [0, 0]
    assert found[1].published_time_ms == stream.start_ms + 3  # caused by the event that closed it


def test_served_features_are_kept_as_they_were(pipeline: SessionPipeline, stream: Any) -> None:
    served = [0.25] * len(NAMES)
    events = [
        stream.shown("s", context_features=served),
        stream.click("k", seconds=1, item_id="a", impression_id="s"),
        stream.shown("wrong", seconds=2, context_features=[9.0]),
        stream.click("j", seconds=3, item_id="a", impression_id="wrong"),
    ]
    first, second = written(advance(pipeline, stream.records(*events)))
    assert first.features == served
    assert len(second.features) == len(NAMES) and second.features != served


def test_a_sweep_closes_what_nobody_answers_and_positions_go_on(
    pipeline: SessionPipeline, open_state: Callable[[], PartitionState], own_settings: Settings, stream: Any
) -> None:
    advance(pipeline, stream.records(stream.shown("s1"), stream.click("k", "v"), stream.shown("s2", "v", 1)))
    window_ms = int(own_settings.sessions.impression_window_seconds * 1_000)
    assert pipeline.sweep(stream.start_ms + window_ms - 1) is None
    first = pipeline.sweep(stream.start_ms + window_ms)
    assert first is not None
    pipeline.state.commit(first)
    again = SessionPipeline(3, open_state(), ITEMS, own_settings)
    second = again.sweep(stream.start_ms + window_ms + 10)
    assert second is not None
    again.state.commit(second)
    positions = [one.source for effects in (first, second) for one in written(effects)]
    assert positions == [Position(3, 2, 0), Position(3, 2, 1)]
    assert again.sweep(stream.start_ms + window_ms * 9) is None
    assert again.state.counters()["examples:impression"] == 2


def test_positions_only_grow(pipeline: SessionPipeline, stream: Any) -> None:
    events = [
        stream.shown(f"e{n}", f"u{n % 2}", n * 9) if n % 3 else stream.click(f"e{n}", f"u{n % 2}", n * 9, item_id="a")
        for n in range(80)
    ]
    positions = []
    for record in stream.records(*events):
        positions += [one.source for one in written(advance(pipeline, [record]))]
        if (swept := pipeline.sweep(record.timestamp_ms)) is not None:
            pipeline.state.commit(swept)
            positions += [one.source for one in written(swept)]
    assert len(positions) > 40
    assert positions == sorted(set(positions))


def test_a_record_that_breaks_the_pipeline_can_be_passed_by(pipeline: SessionPipeline, stream: Any) -> None:
    effects = pipeline.reject(stream.records(stream.click("a"))[0], ValueError("odd"))
    pipeline.state.commit(effects)
    assert dead_letter.from_record(effects.messages[0].value).reason == "ValueError"
    assert pipeline.state.applied.offset == 0
