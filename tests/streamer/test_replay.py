from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import BrokerError, SourceError
from streamer.events import Event
from streamer.replay import Cursor, Pacer, Replayer, read_cursor, timeline, write_cursor
from streamer.sources.simulator import SimulatorSource

SOURCE = SimulatorSource(limit=300)


class Memory:
    """A sink that can lose its broker after some events; only what was flushed is durable."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.sent: list[Event] = []
        self.durable = 0
        self._fails_after = fails_after

    def send(self, event: Event) -> None:
        if self._fails_after is not None and len(self.sent) >= self._fails_after:
            raise BrokerError("gone")
        self.sent.append(event)

    def flush(self) -> None:
        self.durable = len(self.sent)


def test_the_timeline_has_items_before_what_speaks_of_them() -> None:
    known: set[str] = set()
    times: list[int] = []
    for event in timeline(SOURCE):
        times.append(event.event_time_ms)
        if event.type == "item":
            known.add(event.item_id or "")
        else:
            assert set(event.items or [event.item_id]) <= known
    assert times == sorted(times)


def test_a_replay_that_was_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    everything = list(timeline(SOURCE))
    path = tmp_path / "cursor.json"
    first = Memory(fails_after=2_050)
    with pytest.raises(BrokerError):
        Replayer(SOURCE, first, Pacer(0), path).run()
    assert read_cursor(path, "simulator").acknowledged == first.durable == 2_050
    second = Memory()
    report = Replayer(SOURCE, second, Pacer(0), path).run()
    assert report.resumed_from == 2_050 and report.finished
    assert first.sent + second.sent == everything
    assert sum(report.published.values()) == len(second.sent)
    third = Replayer(SOURCE, Memory(), Pacer(0), path).run()
    assert sum(third.published.values()) == 0
    assert read_cursor(path, "simulator").finished


def test_the_cursor_never_runs_ahead_of_what_is_durable(tmp_path: Path) -> None:
    class Refuses(Memory):
        def flush(self) -> None:
            raise BrokerError("refused")

    path = tmp_path / "cursor.json"
    with pytest.raises(BrokerError):
        Replayer(SOURCE, Refuses(), Pacer(0), path).run()
    assert read_cursor(path, "simulator").acknowledged == 0


def test_a_cursor_of_another_source_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cursor.json"
    write_cursor(path, Cursor(source="ml-100k", acknowledged=7))
    with pytest.raises(SourceError, match="of ml-100k, not of toys; --restart"):
        read_cursor(path, "toys")
    path.write_bytes(b"{")
    with pytest.raises(SourceError, match="damaged.*--restart"):
        read_cursor(path, "toys")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_event_time_passes_speed_times_as_fast_as_the_clock() -> None:
    clock = Clock()
    pacer = Pacer(60.0, clock, clock.sleep)
    for event_time_ms in (1_000, 61_000, 61_000, 31_000, 601_000):
        pacer.wait_for(event_time_ms)
    assert clock.now == pytest.approx(10.0)
    clock.now = 100.0  # behind: no waiting until it has caught up
    pacer.wait_for(1_201_000)
    assert clock.now == 100.0


def test_speed_zero_never_waits_and_nonsense_is_refused() -> None:
    assert Pacer(0).delay_seconds(10**15) == 0
    for speed in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SourceError, match="speed"):
            Pacer(speed)


def test_a_long_silence_in_the_stream_flushes_first() -> None:
    clock, sink = Clock(), Memory()
    durable: list[int] = []

    def sleep(seconds: float) -> None:
        durable.append(sink.durable)
        clock.sleep(seconds)

    class Two(SimulatorSource):
        def items(self):  # type: ignore[no-untyped-def]
            return iter(())

        def events(self):  # type: ignore[no-untyped-def]
            for number, time_ms in enumerate((5, 10_000_005)):
                yield Event(event_id=str(number), type="item", event_time_ms=time_ms, item_id="i")

    Replayer(Two(), sink, Pacer(1.0, clock, sleep)).run()
    assert durable == [1]
