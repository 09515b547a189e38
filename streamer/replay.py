"""Replaying a source into Kafka in event time, resumable.

The catalogue and the events are one sequence in order of event time. A cursor file says how many of them the broker has
acknowledged; after a crash at most one interval is sent again, with the same ``event_id`` s, which does no harm.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from streamer.errors import SourceError
from streamer.events import Event
from streamer.sources import Source

_CURSOR_INTERVAL_SECONDS = 1.0


class Sink(Protocol):
    """Where events go; :class:`streamer.publishing.Publisher` is one."""

    def send(self, event: Event) -> None:
        """Take one event."""

    def flush(self) -> None:
        """Wait until everything sent is durable."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far the replay of a source has come."""

    source: str
    acknowledged: int = 0
    last_event_time_ms: int | None = None
    finished: bool = False


@dataclass
class ReplayReport:
    """What a replay did."""

    source: str
    simulated: bool
    resumed_from: int = 0
    published: Counter[str] = field(default_factory=Counter)  # by type of event
    seconds: float = 0.0
    finished: bool = False

    @property
    def events_per_second(self) -> float:
        """Rate of publishing over the whole replay."""
        return sum(self.published.values()) / self.seconds if self.seconds else 0.0


def timeline(source: Source) -> Iterator[Event]:
    """Catalogue and events of a source in order of event time; at the same time items come first."""
    return heapq.merge(source.items(), source.events(), key=lambda event: event.event_time_ms)


def read_cursor(path: Path, source: str) -> Cursor:
    """Cursor in the file, or a fresh one where there is no file.

    Raises
    ------
    SourceError
        Where the file is damaged or belongs to another source.
    """
    if not path.exists():
        return Cursor(source=source)
    try:
        cursor = msgspec.json.decode(path.read_bytes(), type=Cursor)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SourceError(f"the cursor file {path} is damaged ({error}); --restart begins anew") from error
    if cursor.source != source:
        raise SourceError(f"the cursor file {path} is of {cursor.source}, not of {source}; --restart begins anew")
    return cursor


def write_cursor(path: Path, cursor: Cursor) -> None:
    """Write the file so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(cursor))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Pacer:
    """Waits so that event time passes ``speed`` times as fast as the clock; 0 never waits.

    Examples
    --------
    >>> waits = []
    >>> pacer = Pacer(speed=10.0, clock=lambda: 100.0, sleep=waits.append)
    >>> pacer.wait_for(5_000), pacer.wait_for(6_000), waits
    (None, None, [0.1])
    """

    def __init__(
        self, speed: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not 0 <= speed < float("inf"):
            raise SourceError(f"speed {speed} is not allowed: 0 for as fast as possible, 60 for a minute a second")
        self._speed, self._clock, self._sleep = speed, clock, sleep
        self._start: tuple[float, int] | None = None

    def delay_seconds(self, event_time_ms: int) -> float:
        """How long the event has to wait still."""
        if not self._speed:
            return 0.0
        if self._start is None:
            self._start = self._clock(), event_time_ms
        started, first_ms = self._start
        return max(0.0, started + (event_time_ms - first_ms) / 1_000 / self._speed - self._clock())

    def wait_for(self, event_time_ms: int) -> None:
        """Sleep until it is the event's turn."""
        if (delay := self.delay_seconds(event_time_ms)) > 0:
            self._sleep(delay)


class Replayer:
    """Sends the timeline of a source to a sink, keeping a cursor.

    Parameters
    ----------
    source
        What to replay.
    sink
        Where to.
    pacer
        How fast.
    cursor_path
        Where the cursor lies; None keeps none.
    """

    def __init__(self, source: Source, sink: Sink, pacer: Pacer, cursor_path: Path | None = None) -> None:
        self._source, self._sink, self._pacer, self._cursor_path = source, sink, pacer, cursor_path
        self._cursor = Cursor(source=source.name)
        self._sent, self._saved_at_seconds = 0, 0.0

    def run(self, advance: Callable[[int], None] | None = None) -> ReplayReport:
        """Replay from the cursor to the end.

        Parameters
        ----------
        advance
            Called with the number of events that were sent (a progress bar's).

        Raises
        ------
        HeadwaterError
            What the source or the sink raises; the cursor then stands at the last acknowledged event.
        """
        if self._cursor_path is not None:
            self._cursor = read_cursor(self._cursor_path, self._source.name)
        self._sent = self._cursor.acknowledged
        report = ReplayReport(self._source.name, self._source.simulated, resumed_from=self._sent)
        started = self._saved_at_seconds = time.monotonic()
        last: Event | None = None
        try:
            for last in islice(timeline(self._source), self._sent, None):
                self._send(last)
                report.published[last.type] += 1
                if advance is not None:
                    advance(1)
            report.finished = True
        finally:
            self._save(last, report.finished)
            report.seconds = time.monotonic() - started
        return report

    def _send(self, event: Event) -> None:
        if self._pacer.delay_seconds(event.event_time_ms) > _CURSOR_INTERVAL_SECONDS:
            self._save(None, finished=False)  # a long silence: nothing should wait in the client meanwhile
        self._pacer.wait_for(event.event_time_ms)
        self._sink.send(event)
        self._sent += 1
        if time.monotonic() - self._saved_at_seconds > _CURSOR_INTERVAL_SECONDS:
            self._save(event, finished=False)

    def _save(self, last: Event | None, finished: bool) -> None:
        """Make sure that what was sent is durable, then say so in the cursor file."""
        self._sink.flush()
        time_ms = self._cursor.last_event_time_ms if last is None else last.event_time_ms
        self._cursor = Cursor(
            source=self._source.name, acknowledged=self._sent, last_event_time_ms=time_ms, finished=finished
        )
        if self._cursor_path is not None:
            write_cursor(self._cursor_path, self._cursor)
        self._saved_at_seconds = time.monotonic()
