"""The stream worker as a Faust app: one agent over the events topic, no tables.

Order of things for each batch: state durable in SQLite, then examples produced and users pushed, then the offsets
acknowledged to Faust. What a crash cuts off is done again from the outbox.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import faust
from faust.types import TP

from streamer import topics
from streamer.effects import Record
from streamer.faust_process import run_app, transport_of
from streamer.session_worker import SessionWorker
from streamer.settings import Sessions, Settings

GROUP = "headwater-worker"
SESSION_TIMEOUT_SECONDS = 10.0
WAITING_BATCHES = 4
_log = logging.getLogger(__name__)


class WorkerApp(faust.App):  # type: ignore[misc]
    """The Faust app of ``headwater worker``; also the :class:`~streamer.session_worker.Source` of its worker."""

    work: SessionWorker | None = None
    settings_of_headwater: Settings

    async def on_first_start(self) -> None:
        """Connect before the first record is read."""
        self.settings_of_headwater.stores.state_dir.mkdir(parents=True, exist_ok=True)
        await super().on_first_start()
        self.work = SessionWorker(self.settings_of_headwater, self)
        await self.work.start()

    async def on_stop(self) -> None:
        """Finish the batch at hand, then let Faust commit and leave the group."""
        if self.work is not None:
            await self.work.stop()
        await super().on_stop()

    def _new_transport(self) -> Any:
        return transport_of(self, self.settings_of_headwater.kafka.fetch_max_wait_ms)

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition of the events topic again from an offset."""
        await self.consumer.seek(TP(topics.EVENTS.name, partition), offset)


def create_app(settings: Settings) -> WorkerApp:
    """Build the Faust app.

    Offsets are acknowledged by hand after a batch's effects are durable; an agent runs with concurrency 1, because
    Faust can pass by offsets in flight otherwise.
    """
    app = WorkerApp(
        GROUP,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")],
        key_serializer="raw",
        value_serializer="raw",
        datadir=str(settings.stores.state_dir / "faust"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1_048_576,
        broker_session_timeout=SESSION_TIMEOUT_SECONDS,
        broker_heartbeat_interval=SESSION_TIMEOUT_SECONDS / 4,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
        stream_buffer_maxsize=8_192,
        worker_redirect_stdouts=False,
    )
    app.settings_of_headwater = settings
    _connect_signals(app)
    _add_agent(app, settings)
    return app


def run(settings: Settings, log_level: str = "WARNING") -> None:
    """Run the worker in the foreground until SIGTERM or SIGINT; ends the process."""
    run_app(create_app, settings, log_level)


def _connect_signals(app: WorkerApp) -> None:
    async def on_assigned(_: Any, assigned: set[TP], **__: Any) -> None:
        assert app.work is not None  # started before the consumer
        await app.work.assign({tp.partition for tp in assigned if tp.topic == topics.EVENTS.name})

    async def on_revoked(_: Any, revoked: set[TP], **__: Any) -> None:
        if app.work is not None:
            await app.work.revoke({tp.partition for tp in revoked if tp.topic == topics.EVENTS.name})

    app.on_partitions_assigned.connect(on_assigned, weak=False)
    app.on_partitions_revoked.connect(on_revoked, weak=False)


def _add_agent(app: WorkerApp, settings: Settings) -> None:
    events = app.topic(topics.EVENTS.name, key_type=bytes, value_type=bytes)
    limits = settings.sessions

    async def sessions(stream: Any) -> None:
        stream.enable_acks = False  # acknowledged below, when a batch's effects are durable
        waiting: asyncio.Queue[Any] = asyncio.Queue(WAITING_BATCHES * limits.batch_events)
        applying = asyncio.create_task(_apply_all(app, waiting, limits))
        try:
            async for event in stream.events():
                await waiting.put(event)
        finally:
            applying.cancel()

    app.agent(events, name="sessions", concurrency=1)(sessions)


async def _apply_all(app: WorkerApp, waiting: asyncio.Queue[Any], limits: Sessions) -> None:
    """Apply what waits, as much at once as there is: batches are small where the stream is calm, large behind it.

    A batch has its price however small it is, so one starts no sooner than ``batch_within_seconds`` after the one
    before; an event that comes alone does not wait.
    """
    assert app.work is not None  # started before the agents
    started_at = 0.0
    while True:
        batch = [await waiting.get()]
        await asyncio.sleep(max(started_at + limits.batch_within_seconds - time.monotonic(), 0))
        started_at = time.monotonic()
        while len(batch) < limits.batch_events and not waiting.empty():
            batch.append(waiting.get_nowait())
        try:
            done = await app.work.handle(_by_partition(batch))
        except Exception as error:  # going on would pass by this batch
            await app.crash(error)
            raise
        for event in batch:
            if event.message.offset <= done.get(event.message.partition, -1):
                event.ack()


def _by_partition(batch: Sequence[Any]) -> dict[int, list[Record]]:
    grouped: defaultdict[int, list[Record]] = defaultdict(list)
    for event in batch:
        message = event.message
        timestamp_ms = round(message.timestamp * 1_000)
        grouped[message.partition].append(Record(message.offset, timestamp_ms, message.key, message.value))
    return grouped
