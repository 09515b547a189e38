from __future__ import annotations

import itertools
import time

import pytest

from streamer.bench.event_load import EventLoad, endless
from streamer.events import decode
from streamer.sources import SimulatorSource


class Recorder:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []

    async def send(self, topic: str, value: bytes, key: bytes) -> None:
        self.sent.append((topic, key, value))


def test_a_source_goes_on_for_ever_under_new_ids() -> None:
    source = SimulatorSource(limit=60)
    once = [event for event in source.events() if event.type == "interaction"]
    events = list(itertools.islice(endless(source), 3 * len(once)))
    assert len({event.event_id for event in events}) == 3 * len(once)
    assert [event.item_id for event in events] == 3 * [event.item_id for event in once]


def test_a_source_without_interactions_says_so() -> None:
    class Silent(SimulatorSource):
        def events(self):
            return iter(())

    with pytest.raises(ValueError, match="no interactions"):
        next(endless(Silent()))


async def test_events_are_published_as_of_now_and_watched_now_and_then() -> None:
    recorder, watched = Recorder(), []

    async def on_due(number: int, due: float) -> None:
        watched.append((number, due))

    load = EventLoad(recorder, endless(SimulatorSource(limit=200)))
    before_ms = time.time_ns() // 1_000_000
    await load.run(400, 0.25, on_due, every=10)
    assert load.published == len(recorder.sent) == len(load.late_ms) > 50
    assert [number for number, _ in watched] == list(range(0, load.published, 10))
    for topic, key, value in recorder.sent:
        event = decode(value)
        assert topic == "headwater.events" and key.decode() == event.user_id and event.event_time_ms >= before_ms
