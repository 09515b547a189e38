"""The trainer: a Faust app over the examples topic that learns, and publishes what it has learnt.

Three rhythms beside the stream: changed rows every half second, the dense part every few seconds, a snapshot every ten.
Examples are acknowledged only when a snapshot holds what they taught, so a crash repeats them and their positions tell
the student which it knows already.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
import msgspec
from aiokafka import AIOKafkaProducer
from faust.types import TP

from exporters import announcements, deltas
from exporters.announcements import Announcement
from exporters.errors import GateRefused
from exporters.publish import DensePublisher
from exporters.registry import Registry
from feature_store.online import OnlineStore
from feature_store.user_state import ItemInfo
from feature_store.vectors import NAMES
from streamer import metrics, topics
from streamer.effects import Message, Record
from streamer.examples import Example, decode
from streamer.faust_process import run_app, transport_of
from streamer.gaps import GapGuard
from streamer.item_reader import ItemReader
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore
from streamer.student import Student

GROUP = "headwater-trainer"
MODEL = "student"
ITEMS_PUSHED_SECONDS = 5.0
SESSION_TIMEOUT_SECONDS = 12.0  # heartbeats have a thread of their own: a long step does not stop them
_log = logging.getLogger(__name__)


class Trainer:
    """Holds the student of one process: learns, publishes, saves. One lock keeps those apart.

    Parameters
    ----------
    settings
        All settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.student = Student(settings)
        self.offsets: dict[int, int] = {}  # partition of the examples topic -> last offset applied
        self._guards: defaultdict[int, GapGuard] = defaultdict(GapGuard)
        self._snapshots = SnapshotStore(settings.stores.snapshots_dir / MODEL)
        self._described: dict[str, ItemInfo] = {}
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._unacknowledged: list[Any] = []
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            acks="all",
            linger_ms=5,
            max_batch_size=262_144,
            max_request_size=4 * 1_048_576,
        )
        self._items = ItemReader(settings, self._send)
        self._publisher = DensePublisher(
            registry=Registry(settings.stores.models_dir), name=MODEL, announce=self._announce_later
        )
        self._announcements: list[Announcement] = []
        self._published_step = -1

    async def start(self) -> None:
        """Resume from the latest snapshot, connect, read the catalogue, publish a first version."""
        await asyncio.to_thread(self._resume)
        await self._producer.start()
        await self._items.start()
        self._describe_items()
        sizes = self.settings.learning
        rhythms: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (sizes.publish_rows_seconds, self.publish_rows),
            (sizes.publish_dense_seconds, self.publish_dense),
            (sizes.snapshot_seconds, self.save),
            (ITEMS_PUSHED_SECONDS, self._push_items),
        ]
        self._store = await asyncio.to_thread(self._open_store)
        await self.publish_dense()
        self._tasks = [asyncio.create_task(_every(seconds, work)) for seconds, work in rhythms]
        self._tasks.append(asyncio.create_task(self._items.follow()))

    async def stop(self) -> None:
        """Save and publish what is there, and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.save()
        await self.publish_rows()
        await self.publish_dense()
        await self._items.close()
        await self._producer.stop()
        await asyncio.to_thread(self._store.close)

    async def handle(
        self,
        events: Sequence[Any],
        seek: Callable[[int, int], Awaitable[None]],
        highwater: Callable[[int], int | None],
    ) -> None:
        """Learn one micro-batch of Faust events; they are acknowledged with the next snapshot."""
        examples: list[Example] = []
        async with self._lock:  # a snapshot must never hold offsets whose examples it has not learnt
            for partition, records in _by_partition(events).items():
                accepted = await self._accept(partition, records, seek)
                examples += [example for record in accepted if (example := _read(record)) is not None]
            plotted = await asyncio.to_thread(self.student.learn, examples) if examples else {}
            for event in events:
                if event.message.offset <= self.offsets.get(event.message.partition, -1):
                    self._unacknowledged.append(event)
        for partition, applied in self.offsets.items():
            end = highwater(partition)
            if end is not None:
                lag = max(end - applied - 1, 0)
                metrics.CONSUMER_LAG.labels(topic=topics.EXAMPLES.name, partition=str(partition)).set(lag)
        if plotted.get("learned"):
            metrics.EXAMPLES_LEARNED.inc(plotted["learned"])
            metrics.show_learning(MODEL, plotted, self.student.network.learner.clipping_factors())

    async def publish_rows(self) -> None:
        """Write the rows that changed to the weights topic."""
        async with self._lock:
            self._describe_items()
            rows = await asyncio.to_thread(self.student.take_rows)
            step = self.student.learned
        for row in rows:
            await self._producer.send(topics.WEIGHTS.name, deltas.encode(row), key=row.key)
            metrics.ROWS_PUBLISHED.labels(table=row.table).inc()
        if rows:
            await self._producer.flush()
            metrics.WEIGHTS_STEP.set(step)

    async def publish_dense(self) -> None:
        """Publish the dense part as a version: parity and gate first, then the registry, then the announcement."""
        async with self._lock:
            if self.student.learned == self._published_step:
                return
            job = await asyncio.to_thread(self._copy)
        started = time.monotonic()
        try:
            manifest = await asyncio.to_thread(lambda: self._publisher.publish(**job))
            metrics.PUBLISHED_MODELS.labels(kind="dense").inc()
            metrics.PARITY_MAX_ABS.set(max(manifest.parity.values(), default=0.0))
        except GateRefused as refusal:
            metrics.PUBLISH_REJECTED.labels(gate=refusal.reason).inc()
            _log.warning("a version was refused: %s", refusal)
        self._published_step = job["step"]
        metrics.PUBLISH_SECONDS.observe(time.monotonic() - started)
        for announcement in self._announcements:
            content = announcements.encode(announcement)
            await self._producer.send_and_wait(topics.MODELS.name, content, key=announcement.key)
        self._announcements.clear()

    async def save(self) -> None:
        """Write a snapshot, then acknowledge the examples that it holds."""
        async with self._lock:
            if not self._unacknowledged:
                return
            started = time.monotonic()
            await asyncio.to_thread(self._save)
            acknowledged, self._unacknowledged = self._unacknowledged, []
        metrics.SNAPSHOT_SECONDS.observe(time.monotonic() - started)
        for event in acknowledged:
            event.ack()

    def _save(self) -> None:
        offsets = {str(partition): offset for partition, offset in self.offsets.items()}
        self._snapshots.save({"student": self.student.state_dict(), "offsets": offsets}, {"model": MODEL})

    def _resume(self) -> None:
        snapshot = self._snapshots.latest()
        if snapshot is None:
            return
        self.student.load_state_dict(snapshot.state["student"])
        self.offsets = {int(partition): offset for partition, offset in snapshot.state["offsets"].items()}
        _log.info("resumed at %d learned examples", self.student.learned)

    def _copy(self) -> dict[str, Any]:
        """Everything of a version, apart from the student, so that learning goes on meanwhile."""
        student = self.student
        student.release_moved()
        quality = student.prequential.read()
        for name, value in quality.items():
            model, _, metric = name.rpartition("_")
            metrics.PREQUENTIAL.labels(metric=metric, model=model or "served").set(value)
        return {
            "graphs": copy.deepcopy(student.network.ranker).graphs(),
            "tables": student.tables(),
            "item_ids": student.item_ids(),
            "meta": student.meta(),
            "metrics": quality,
            "offsets": {str(partition): offset for partition, offset in self.offsets.items()},
            "step": student.learned,
            "checks": student.recent(),
        }

    async def _accept(
        self, partition: int, records: list[Record], seek: Callable[[int, int], Awaitable[None]]
    ) -> list[Record]:
        applied = self.offsets.get(partition, -1)
        accepted, again_from = self._guards[partition].check(applied, records)
        if again_from is not None:
            _log.warning(
                "examples partition %d skipped to %d: reading again from %d", partition, records[0].offset, again_from
            )
            await seek(partition, again_from)
        if accepted:
            self.offsets[partition] = accepted[-1].offset
        return accepted

    def _describe_items(self) -> None:
        for item_id, info in self._items.items.items():
            if self._described.get(item_id) is not info:
                self._described[item_id] = info
                self.student.describe(info)

    async def _push_items(self) -> None:
        async with self._lock:
            changed = self.student.memory.items.take_changed()
        if changed:
            await asyncio.to_thread(self._store.push_items, changed)

    def _open_store(self) -> OnlineStore:
        stores = self.settings.stores
        return OnlineStore.open(stores.feast_dir, stores.online_store, stores.redis_url)

    def _announce_later(self, announcement: Announcement) -> None:
        self._announcements.append(announcement)

    async def _send(self, message: Message) -> None:
        await self._producer.send_and_wait(message.topic, message.value, key=message.key)


class TrainerApp(faust.App):  # type: ignore[misc]
    """The Faust app of ``headwater train``."""

    trainer: Trainer
    settings_of_headwater: Settings

    async def on_first_start(self) -> None:
        """Resume and connect before the first example is read."""
        await super().on_first_start()
        trainer = Trainer(self.settings_of_headwater)
        await trainer.start()
        self.trainer = trainer

    async def on_stop(self) -> None:
        """Save, publish, leave."""
        if hasattr(self, "trainer"):  # not where starting has failed
            await self.trainer.stop()
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


def create_app(settings: Settings) -> TrainerApp:
    """Build the Faust app; see :func:`streamer.workers.create_app` for why it acknowledges by hand."""
    settings.stores.state_dir.mkdir(parents=True, exist_ok=True)  # Faust makes only the last folder of its own
    app = TrainerApp(
        GROUP,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")],
        key_serializer="raw",
        value_serializer="raw",
        datadir=str(settings.stores.state_dir / "faust-trainer"),
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1_048_576,
        broker_session_timeout=SESSION_TIMEOUT_SECONDS,
        broker_heartbeat_interval=SESSION_TIMEOUT_SECONDS / 4,
        broker_commit_interval=1.0,
        stream_wait_empty=False,
        stream_buffer_maxsize=4_096,
        worker_redirect_stdouts=False,
    )
    app.settings_of_headwater = settings
    examples = app.topic(topics.EXAMPLES.name, key_type=bytes, value_type=bytes)
    sizes = settings.learning

    async def learn(stream: Any) -> None:
        async for batch in stream.noack_take(sizes.batch_examples, within=sizes.batch_within_seconds):
            try:
                await app.trainer.handle(batch, app.seek, app.end)
            except Exception as error:  # going on would pass by this batch
                await app.crash(error)
                raise

    app.agent(examples, name="learn", concurrency=1)(learn)
    return app


def run(settings: Settings, log_level: str = "WARNING") -> None:
    """Run the trainer in the foreground until SIGTERM or SIGINT; ends the process."""
    run_app(create_app, settings, log_level)


def _by_partition(events: Sequence[Any]) -> dict[int, list[Record]]:
    grouped: defaultdict[int, list[Record]] = defaultdict(list)
    for event in events:
        message = event.message
        grouped[message.partition].append(
            Record(message.offset, round(message.timestamp * 1_000), message.key, message.value)
        )
    return grouped


def _read(record: Record) -> Example | None:
    """Decode an example, or None where it cannot be learnt; the worker alone writes this topic, so that is only logged.

    A worker of another version may have other features or a slate without its outcomes: one such example must not stop
    the trainer.
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


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # the next round tries again; the stream goes on
            _log.exception("%s failed", getattr(work, "__name__", "a rhythm"))
