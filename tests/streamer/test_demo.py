from __future__ import annotations

import time
from pathlib import Path

import pytest
from rich.console import Console

from streamer import demo
from streamer.demo import DemoOptions, choose_source
from streamer.door import DoorReport
from streamer.errors import SourceError
from streamer.events import Event


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=300)


def test_without_data_the_events_are_simulated_and_it_says_so(console: Console, tmp_path: Path) -> None:
    source = choose_source(DemoOptions(events=50), tmp_path, console)
    assert source.simulated and len(list(source.events())) == 50
    said = console.export_text()
    assert "No data set at hand" in said and "The events are simulated" in said


def test_a_data_set_that_was_asked_for_is_never_replaced(console: Console, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        choose_source(DemoOptions(dataset="ml-1m"), tmp_path, console)
    with pytest.raises(SourceError):
        choose_source(DemoOptions(dataset=str(tmp_path / "absent.jsonl")), tmp_path, console)


def test_the_data_set_at_hand_is_taken(console: Console, tmp_path: Path) -> None:
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text("1\t2\t5\t881250949\n1\t3\t4\t881250950\n")
    (folder / "u.genre").write_text("Drama|0\n")
    (folder / "u.item").write_text("2|A|01-Jan-1995||url|1\n3|B|01-Jan-1995||url|0\n")
    source = choose_source(DemoOptions(), tmp_path, console)
    assert not source.simulated and "ml-100k" in source.name and console.export_text() == ""


async def test_pace_follows_event_time() -> None:
    made = [Event(event_id=f"e{n}", type="item", item_id="i", event_time_ms=1_000 * n) for n in (5, 105, 5)]
    pace, started = demo._Pace(speed=1_000), time.monotonic()
    for event in made:
        await pace(event)
    assert time.monotonic() - started >= 0.1, "a hundred seconds of event time at a thousandfold speed"


async def test_speed_0_never_waits() -> None:
    pace = demo._Pace(speed=0)
    for time_ms in (0, 10**15):
        await pace(Event(event_id="e", type="item", item_id="i", event_time_ms=time_ms))


def test_latencies_of_no_request_are_zero() -> None:
    assert demo._latency(DoorReport()) == {"p50": 0.0, "p99": 0.0, "requests": 0}
    figures = demo._latency(DoorReport(latencies_ms=[1.0, 3.0]))
    assert figures["p50"] == 2.0 and 2.9 < figures["p99"] <= 3.0 and figures["requests"] == 2
