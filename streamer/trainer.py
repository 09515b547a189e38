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
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer

from exporters import announcements
from exporters.announcements import Announcement
from exporters.deltas import VECTORS
from exporters.errors import GateRefused
from exporters.manifest import WEIGHTS_OFFSET
from exporters.publish import DensePublisher
from exporters.registry import Registry
from feature_store.online import OnlineStore
from streamer import example_stream, metrics, topics
from streamer.drift.desk import DriftDesk
from streamer.effects import Message
from streamer.errors import HeadwaterError
from streamer.example_stream import ExamplesApp, Highwater, MicroBatchSize, Positions, Seek, every, soon_after
from streamer.examples import Example
from streamer.families import check_family
from streamer.faust_process import run_app
from streamer.item_reader import ItemReader
from streamer.label_reader import LabelReader
from streamer.label_store import LabelStore
from streamer.model_names import GROUP, is_default, named
from streamer.model_requests import ModelRequests
from streamer.row_publisher import RowPublisher
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore
from streamer.soft_labels import SoftLabel
from streamer.student import Student

ITEMS_PUSHED_SECONDS = 5.0
DISTILLED_SECONDS = 0.25
DRIFT_SECONDS = 1.0
_ROWS_WAIT_SECONDS = 0.5  # without a micro-batch: rows that labels have moved, digests, what servers have asked for
_log = logging.getLogger(__name__)


class Trainer:
    """Holds the student of one process: learns, publishes, saves. One lock keeps those apart.

    Parameters
    ----------
    settings
        All settings.
    size
        Of the micro-batches, which follows what waits; None: nobody asks.
    """

    def __init__(self, settings: Settings, size: MicroBatchSize | None = None) -> None:
        self.settings, self._size = settings, size
        self.student = Student(settings)
        self.positions = Positions()
        self.name = settings.learning.name
        self._snapshots = SnapshotStore(settings.stores.snapshots_dir / self.name)
        self._lock = asyncio.Lock()
        self._rhythms: list[asyncio.Task[None]] = []
        self._readers: list[asyncio.Task[None]] = []
        self._leaving, self._collected = asyncio.Event(), asyncio.Event()
        self._unacknowledged: list[Any] = []
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            acks="all",
            linger_ms=5,
            max_batch_size=262_144,
            max_request_size=4 * 1_048_576,
        )
        self._items = ItemReader(settings, self._send)
        self._labels = LabelReader(settings)
        self._registry = Registry(settings.stores.models_dir)
        self._publisher = DensePublisher(
            registry=self._registry, name=self.name, announce=self._announce_later, int8=settings.learning.int8
        )
        sizes = settings.learning
        self._rows = RowPublisher(self.student, self._producer, sizes.parity_seconds, sizes.publish_rows_seconds)
        monitor = self.student.drift
        self._drift = None if monitor is None else DriftDesk(settings, monitor, self._registry, self._send)
        self._repairs = ModelRequests(settings, self.name, "repair", self._rows.asked)
        self._announcements: list[Announcement] = []
        self._published = (-1, -1)
        self._distilled = False  # since the last snapshot

    async def start(self) -> None:
        """Resume from the latest snapshot, connect, read the catalogue, publish a first version."""
        await asyncio.to_thread(self._resume)
        self.student.outgoing.begin(await asyncio.to_thread(self._registry.next_epoch, self.name), self.student.learned)
        await self._producer.start()
        await self._repairs.start()
        await self._items.start()
        self._describe_items()
        await self._start_labels()
        sizes = self.settings.learning
        rhythms: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (sizes.publish_dense_seconds, self.publish_dense),
            (sizes.snapshot_seconds, self.save),
            (DISTILLED_SECONDS, self.distill),
        ]
        if self._drift is not None:
            await self._drift.start()
            rhythms.append((DRIFT_SECONDS, self.report_drift))
        if is_default(self.settings):  # every trainer counts the same items: one of them writes
            rhythms.append((ITEMS_PUSHED_SECONDS, self._push_items))
        metrics.TRAINER_INFO.labels(model=self.name, family=sizes.family).set(1)
        self._store = await asyncio.to_thread(self._open_store)
        await self.publish_dense()
        self._rhythms = [asyncio.create_task(every(seconds, work, self._leaving)) for seconds, work in rhythms]
        rows = soon_after(self._collected, self._publish_rows_soon, self._leaving, _ROWS_WAIT_SECONDS)
        self._rhythms.append(asyncio.create_task(rows))
        self._readers = [asyncio.create_task(self._items.follow()), asyncio.create_task(self._repairs.follow())]
        if self.student.soft is not None:
            self._readers.append(asyncio.create_task(self._labels.follow()))
        if self._drift is not None:
            self._readers.append(asyncio.create_task(self._drift.follow()))

    async def stop(self) -> None:
        """Save and publish what is there, and disconnect."""
        self._leaving.set()
        self._collected.set()
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._rhythms, *self._readers, return_exceptions=True)
        await self.save()
        await self.publish_rows()
        await self.publish_dense()
        await self._items.close()
        await self._labels.close()
        if self._drift is not None:
            await self.report_drift()
            await self._drift.close()
        await self._repairs.close()
        await self._producer.stop()
        await asyncio.to_thread(self._store.close)

    async def handle(
        self,
        events: Sequence[Any],
        seek: Seek,
        highwater: Highwater,
    ) -> None:
        """Learn one micro-batch of Faust events; they are acknowledged with the next snapshot."""
        # Faust cancels its agents when it stops: what has been begun must still come to its end
        await asyncio.shield(asyncio.ensure_future(self._handle(events, seek, highwater)))
        self.positions.show_lag(highwater)
        if self._size is not None:
            self._size.follow(self.positions.waiting(highwater))

    async def _handle(self, events: Sequence[Any], seek: Seek, highwater: Highwater) -> None:
        async with self._lock:  # a snapshot must never hold offsets whose examples it has not learnt
            examples = [example for _, _, example in await self.positions.accept(events, seek)]
            limit = self.settings.learning.shed_behind_examples
            behind = limit > 0 and self.positions.waiting(highwater) >= limit
            plotted = await asyncio.to_thread(self._learn, examples, self._labels.take(), behind) if examples else {}
            self._unacknowledged += [event for event in events if self.positions.applied(event)]
            if self._rows.is_due:  # now, while they are new: a rhythm of its own would wait for the next micro-batch
                await self._collect_rows()
                self._collected.set()
        if plotted.get("learned"):
            metrics.EXAMPLES_LEARNED.inc(plotted["learned"])
            metrics.show_shed(self.name, plotted)
            metrics.show_learning(self.name, plotted, self.student.network.learner.clipping_factors())

    async def distill(self) -> None:
        """Learn what has got its soft labels while no example came."""
        async with self._lock:
            await asyncio.to_thread(self._distill, self._labels.take())

    async def report_drift(self) -> None:
        """Meet operators' requests, and write alarms and actions to their topic."""
        assert self._drift is not None
        async with self._lock:
            await asyncio.to_thread(self._drift.act)
        await self._drift.report()

    async def publish_rows(self) -> None:
        """Write the rows that changed to the weights topic."""
        async with self._lock:
            await self._collect_rows()
        self._show_rows(await self._rows.send_collected())

    async def _collect_rows(self) -> None:
        if not await asyncio.to_thread(self._on_hold):
            self._describe_items()
            await asyncio.to_thread(self._rows.collect)

    async def _publish_rows_soon(self) -> None:
        """Send what a micro-batch has put aside; where none has come for a while, what waits all the same."""
        if self._rows.waits:
            self._show_rows(await self._rows.send_collected())
        else:
            await self.publish_rows()

    async def publish_dense(self) -> None:
        """Publish the dense part as a version: parity and gate first, then the registry, then the announcement."""
        if await asyncio.to_thread(self._on_hold):
            return
        async with self._lock:
            stands = self.student.learned, self.student.network.learner.steps
            if stands == self._published:
                return
            job = await asyncio.to_thread(self._copy)
            mark = self.student.guard.mark()
        started = time.monotonic()
        try:
            manifest = await asyncio.to_thread(lambda: self._publisher.publish(**job))
            metrics.PUBLISHED_MODELS.labels(kind="dense").inc()
            metrics.PARITY_MAX_ABS.set(max(manifest.parity.values(), default=0.0))
            self.student.guard.passed(job["tables"][VECTORS], job["item_ids"], mark)
        except GateRefused as refusal:
            metrics.PUBLISH_REJECTED.labels(gate=refusal.reason).inc()
            _log.warning("a version was refused: %s", refusal)
            async with self._lock:
                self.student.refuse_vectors()
        self._published = stands
        metrics.PUBLISH_SECONDS.observe(time.monotonic() - started)
        for announcement in self._announcements:
            content = announcements.encode(announcement)
            await self._producer.send_and_wait(topics.MODELS.name, content, key=announcement.key)
        self._announcements.clear()

    async def save(self) -> None:
        """Write a snapshot, then acknowledge the examples that it holds."""
        async with self._lock:
            if not self._unacknowledged and not self._distilled:
                return
            started = time.monotonic()
            await asyncio.to_thread(self._save)
            acknowledged, self._unacknowledged, self._distilled = self._unacknowledged, [], False
            label_positions = self._labels.positions
        metrics.SNAPSHOT_SECONDS.observe(time.monotonic() - started)
        for event in acknowledged:
            event.ack()
        await self._labels.commit(label_positions)

    def _on_hold(self) -> bool:
        held = self._registry.held(self.name) is not None
        metrics.PUBLISHING_HELD.labels(model=self.name).set(held)
        return held

    def _show_rows(self, step: int | None) -> None:
        outgoing = self.student.outgoing
        for reason, count in outgoing.refused.items():
            metrics.ROWS_REFUSED.labels(reason=reason).inc(count)
        outgoing.refused.clear()
        metrics.VECTORS_HELD.labels(model=self.name).set(self.student.guard.holding)
        if step is not None:
            metrics.WEIGHTS_STEP.set(step)

    def _learn(self, examples: list[Example], labels: list[SoftLabel], behind: bool) -> dict[str, float]:
        if self.student.soft is not None:
            self.student.soft.held.add(labels)
        return self.student.learn(examples, behind=behind) | self._distill([])

    def _distill(self, labels: list[SoftLabel]) -> dict[str, float]:
        soft = self.student.soft
        if soft is None:
            return {}
        soft.held.add(labels)
        plotted = self.student.distill()
        self._distilled |= bool(plotted)
        soft.figures.show(self.name, soft.waiting.examples)
        return plotted

    async def _start_labels(self) -> None:
        if self.student.soft is not None:
            self.student.soft.store = LabelStore(self.settings.stores.labels_dir)
            await self._labels.start(self._labels.positions)

    def _save(self) -> None:
        offsets = {str(partition): offset for partition, offset in self.positions.offsets.items()}
        labels = {str(partition): offset for partition, offset in self._labels.positions.items()}
        state = {"student": self.student.state_dict(), "offsets": offsets, "label_offsets": labels}
        self._snapshots.save(state, self._describe_self())

    def _resume(self) -> None:
        snapshot = self._snapshots.latest()
        if snapshot is None:
            return
        family, wanted = snapshot.meta.get("family", "session"), self.settings.learning.family
        if family != wanted:
            raise HeadwaterError(
                f"The snapshots of {self.name!r} hold a student of the family {family!r}, not {wanted!r};"
                " give --name another name, or --family the one that it has."
            )
        self.student.load_state_dict(snapshot.state["student"])
        self.positions.offsets = {int(partition): offset for partition, offset in snapshot.state["offsets"].items()}
        labels = snapshot.state.get("label_offsets", {})  # snapshots of earlier versions have none
        self._labels.positions = {int(partition): offset for partition, offset in labels.items()}
        _log.info("resumed at %d learned examples", self.student.learned)

    def _describe_self(self) -> dict[str, Any]:
        return {"model": self.name, "family": self.settings.learning.family}

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
            "meta": {**student.meta(), WEIGHTS_OFFSET: self._rows.end_offset},
            "metrics": quality,
            "offsets": {str(partition): offset for partition, offset in self.positions.offsets.items()},
            "step": student.learned,
            "epoch": student.outgoing.epoch,
            "checks": student.recent(),
        }

    def _describe_items(self) -> None:
        for item in self._items.take_changed():
            self.student.describe(item)

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


def create_app(settings: Settings) -> ExamplesApp:
    """Build the Faust app of the trainer.

    Raises
    ------
    HeadwaterError
        There is no such family.
    """
    sizes = settings.learning
    check_family(sizes.family)
    size = MicroBatchSize(sizes.batch_examples, sizes.batch_most_examples)
    return example_stream.create_app(
        settings,
        partial(Trainer, size=size),
        group=named(GROUP, sizes.name),
        name=named("trainer", sizes.name),
        batch_examples=size,
        within_seconds=sizes.batch_within_seconds,
    )


def run(settings: Settings, log_level: str = "WARNING") -> None:
    """Run the trainer in the foreground until SIGTERM or SIGINT; ends the process."""
    run_app(create_app, settings, log_level)
