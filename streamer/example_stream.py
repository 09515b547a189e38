"""What the processes that read ``headwater.examples`` share: decoding, gaps, rhythms, and their whole Faust app."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import faust
import msgspec
from faust.types import TP

from feature_store.vectors import NAMES
from streamer import metrics, topics
from streamer.effects import Record
from streamer.examples import Example, decode
from streamer.faust_process import transport_of
from streamer.gaps import GapGuard
from streamer.settings import Settings

SESSION_TIMEOUT_SECONDS = 12.0  # heartbeats have a thread of their own: a long step does not stop them
Seek = Callable[[int, int], Awaitable[None]]
Highwater = Callable[[int], int | None]
_log = logging.getLogger(__name__)


class Positions:
    """How far each partition of the examples topic is applied; a gap is read again, once.

    Attributes
    ----------
    offsets
        Partition -> last offset applied.
    """

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self._guards: defaultdict[int, GapGuard] = defaultdict(GapGuard)

    async def accept(self, events: Sequence[Any], seek: Seek) -> list[tuple[int, int, Example]]:
        """Take what follows on what was applied: (partition, offset, example); what cannot be read is left out."""
        found = []
        for partition, records in _by_partition(events).items():
            for record in await self._fresh(partition, records, seek):
                example = read_example(record)
                if example is not None:
                    found.append((partition, record.offset, example))
        return found

    def show_lag(self, highwater: Highwater) -> None:
        """Set the metric of what is left to read."""
        for partition, lag in self._lags(highwater).items():
            metrics.CONSUMER_LAG.labels(topic=topics.EXAMPLES.name, partition=str(partition)).set(lag)

    def waiting(self, highwater: Highwater) -> int:
        """How many examples of all partitions are left to read, as far as the consumer knows."""
        return sum(self._lags(highwater).values())

    def _lags(self, highwater: Highwater) -> dict[int, int]:
        ends = {partition: highwater(partition) for partition in self.offsets}
        return {
            partition: max(end - self.offsets[partition] - 1, 0) for partition, end in ends.items() if end is not None
        }

    def applied(self, event: Any) -> bool:
        """Whether an event may be acknowledged with the next snapshot."""
        return bool(event.message.offset <= self.offsets.get(event.message.partition, -1))

    async def _fresh(self, partition: int, records: list[Record], seek: Seek) -> list[Record]:
        applied = self.offsets.get(partition, -1)
        accepted, again_from = self._guards[partition].check(applied, records)
        if again_from is not None:
            _log.warning("examples %d skipped to %d: again from %d", partition, records[0].offset, again_from)
            await seek(partition, again_from)
        if accepted:
            self.offsets[partition] = accepted[-1].offset
        return accepted


class MicroBatchSize:
    """How many examples a micro-batch takes: ``least`` while a process keeps up, as many as wait while it is behind.

    Faust's ``noack_take`` compares what it holds with the number that it was given, ``held >= size``; given this in its
    place, it asks anew each time.

    Parameters
    ----------
    least, most
        Bounds.

    Examples
    --------
    >>> size = MicroBatchSize(64, 256)
    >>> size.follow(waiting=100)
    >>> 64 >= size, 100 >= size
    (False, True)
    """

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, max(least, most)
        self.now = least

    def follow(self, waiting: int) -> None:
        """Take as many as wait from now on, within the bounds."""
        self.now = min(max(waiting, self.least), self.most)

    def __le__(self, held: int) -> bool:
        return held >= self.now


class ExamplesProcess(Protocol):
    """What an app holds: it takes micro-batches, and starts and ends with the app."""

    async def start(self) -> None:
        """Resume and connect."""
        ...

    async def stop(self) -> None:
        """Save and leave."""
        ...

    async def handle(self, events: Sequence[Any], seek: Seek, highwater: Highwater) -> None:
        """Take one micro-batch of Faust events."""
        ...


class ExamplesApp(faust.App):  # type: ignore[misc]
    """A Faust app over the examples topic that acknowledges by hand, around one process."""

    settings_of_headwater: Settings
    make_process: Callable[[Settings], ExamplesProcess]
    process: ExamplesProcess

    async def on_first_start(self) -> None:
        """Resume and connect before the first example is read."""
        await super().on_first_start()
        process = self.make_process(self.settings_of_headwater)
        await process.start()
        self.process = process

    async def on_stop(self) -> None:
        """Let the process save and leave."""
        if hasattr(self, "process"):  # not where starting has failed
            await self.process.stop()
        await super().on_stop()

    def _new_transport(self) -> Any:
        return transport_of(self, self.settings_of_headwater.kafka.fetch_max_wait_ms)

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition of the examples again from an offset."""
        await self.consumer.seek(TP(topics.EXAMPLES.name, partition), offset)

    def end(self, partition: int) -> int | None:
        """Offset behind the last example of a partition, where the consumer knows it."""
        end: int | None = self.consumer.highwater(TP(topics.EXAMPLES.name, partition))
        return end


def create_app(
    settings: Settings,
    make_process: Callable[[Settings], ExamplesProcess],
    *,
    group: str,
    name: str,
    batch_examples: int | MicroBatchSize,
    within_seconds: float,
) -> ExamplesApp:
    """Build the Faust app of a process; see :func:`streamer.workers.create_app` for why it acknowledges by hand.

    Parameters
    ----------
    settings
        All settings.
    make_process
        Makes the process when the app starts.
    group
        Consumer group.
    name
        Of Faust's folder.
    batch_examples, within_seconds
        Largest micro-batch, and how long it is waited for.
    """
    app = ExamplesApp(group, **_options(settings, name))
    app.settings_of_headwater, app.make_process = settings, make_process
    examples = app.topic(topics.EXAMPLES.name, key_type=bytes, value_type=bytes)

    async def take(stream: Any) -> None:
        async for batch in stream.noack_take(batch_examples, within=within_seconds):
            try:
                await app.process.handle(batch, app.seek, app.end)
            except Exception as error:  # going on would pass by this batch
                await app.crash(error)
                raise

    app.agent(examples, name=name, concurrency=1)(take)
    return app


def _options(settings: Settings, name: str) -> dict[str, Any]:
    """Faust's settings for a process of this name; its folder is made."""
    settings.stores.state_dir.mkdir(parents=True, exist_ok=True)  # Faust makes only the last folder of its own
    return {
        "broker": [f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")],
        "key_serializer": "raw",
        "value_serializer": "raw",
        "datadir": str(settings.stores.state_dir / f"faust-{name}"),
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 4 * 1_048_576,
        "broker_session_timeout": SESSION_TIMEOUT_SECONDS,
        "broker_heartbeat_interval": SESSION_TIMEOUT_SECONDS / 4,
        "broker_commit_interval": 1.0,
        "stream_wait_empty": False,
        "stream_buffer_maxsize": 4_096,
        "worker_redirect_stdouts": False,
    }


def read_example(record: Record) -> Example | None:
    """Decode an example, or None where it cannot be learnt; the worker alone writes this topic, so that is only logged.

    A worker of another version may have other features or a slate without its outcomes: one such example must not stop
    who reads it.
    """
    try:
        example = decode(record.value or b"")
    except msgspec.MsgspecError as error:
        _log.error("an example at offset %d cannot be read: %s", record.offset, error)
        return None
    if len(example.features) != len(NAMES):
        _log.error("%s has %d features, not %d: left out", example.example_id, len(example.features), len(NAMES))
        return None
    if example.slate and len(example.outcomes or ()) != len(example.slate):
        _log.error("%s has a slate without an outcome for each item: left out", example.example_id)
        return None
    return example


async def every(seconds: float, work: Callable[[], Awaitable[None]], leaving: asyncio.Event) -> None:
    """Do something again and again until the process leaves; what is under way then comes to its end.

    What goes wrong is logged, and the next round tries again.
    """
    while not leaving.is_set():
        try:
            await asyncio.wait_for(leaving.wait(), seconds)
        except TimeoutError:
            await _try(work)


async def soon_after(
    happened: asyncio.Event, work: Callable[[], Awaitable[None]], leaving: asyncio.Event, wait_seconds: float
) -> None:
    """Do something whenever something else has happened, until the process leaves.

    What goes wrong is logged, and the next round tries again.

    Parameters
    ----------
    happened
        Set by whoever does it, and by who leaves; cleared here.
    work
        What is done.
    leaving
        Set when the process leaves; what is under way then comes to its end.
    wait_seconds
        After so long it is done without a reason.
    """
    while not leaving.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(happened.wait(), wait_seconds)
        happened.clear()
        if not leaving.is_set():
            await _try(work)


async def _try(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception:  # the stream goes on
        _log.exception("%s failed", getattr(work, "__name__", "a rhythm"))


def _by_partition(events: Sequence[Any]) -> dict[int, list[Record]]:
    grouped: defaultdict[int, list[Record]] = defaultdict(list)
    for event in events:
        message = event.message
        grouped[message.partition].append(
            Record(message.offset, round(message.timestamp * 1_000), message.key, message.value)
        )
    return grouped
