"""The stream worker as a Faust app: one agent over the events topic, no tables.

Order of things for each batch: state durable in SQLite, then examples produced and users pushed, then the offsets
acknowledged to Faust. What a crash cuts off is done again from the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import faust
from faust.types import TP

from streamer import metrics, topics
from streamer.effects import Record
from streamer.session_worker import SessionWorker
from streamer.settings import Settings

GROUP = "headwater-worker"
SESSION_TIMEOUT_SECONDS = 10.0
WAITING_BATCHES = 16
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

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition of the events topic again from an offset."""
        await self.consumer.seek(TP(topics.EVENTS.name, partition), offset)

    def end(self, partition: int) -> int | None:
        """Offset behind the last record of a partition, where the consumer knows it."""
        end: int | None = self.consumer.highwater(TP(topics.EVENTS.name, partition))
        return end


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
    topics.create_topics(settings)
    port = metrics.start(settings.metrics_port)
    logging.basicConfig(level=log_level)
    _log.info("metrics at http://localhost:%d/metrics", port)
    worker = faust.Worker(create_app(settings), loglevel=log_level, quiet=True, redirect_stdouts=False)
    worker.execute_from_commandline()


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
        waiting: asyncio.Queue[Sequence[Any]] = asyncio.Queue(WAITING_BATCHES)
        applying = asyncio.create_task(_apply_all(app, waiting, limits.batch_events))
        try:
            async for batch in stream.noack_take(limits.batch_events, within=limits.batch_within_seconds):
                await waiting.put(batch)
        finally:
            applying.cancel()

    app.agent(events, name="sessions", concurrency=1)(sessions)


async def _apply_all(app: WorkerApp, waiting: asyncio.Queue[Sequence[Any]], batch_events: int) -> None:
    """Apply what waits, as much at once as there is: batches are small where the stream is calm, large behind it."""
    assert app.work is not None  # started before the agents
    while True:
        batch = list(await waiting.get())
        while len(batch) < batch_events and not waiting.empty():
            batch += waiting.get_nowait()
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
