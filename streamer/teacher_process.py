"""The teacher on its topics: soft labels out, each once, and a refresh beside them.

Labels are on the broker before the snapshot that says so, and examples are acknowledged after it. A restart therefore
meets examples again that have their labels: it reads those from the label topic, from where the snapshot saw its end,
learns them once more in the micro-batches in which they were labelled, and does not write them again. A new version is
in a snapshot before its first label is written, so versions never go back; a refresh that is cut off leaves nothing
behind.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from exporters import announcements
from streamer import metrics, topics
from streamer.effects import Message
from streamer.errors import SettingsError
from streamer.example_stream import Highwater, Positions, Seek, every
from streamer.item_reader import ItemReader
from streamer.label_topic import LabelTopic
from streamer.model_requests import ModelRequests
from streamer.repeated_batches import Given, RepeatedBatches
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore
from streamer.soft_labels import UNTOLD
from streamer.state_lock import StateLock
from streamer.teacher import MODEL, Teacher
from streamer.teacher_labels import Received
from streamer.teacher_refresh import Refreshed, Stopped
from streamer.teacher_reports import Told, announcement_of, show_labels, show_refresh

_LOOKED_EVERY_SECONDS = 0.5  # for a reason to refresh
_log = logging.getLogger(__name__)


class TeacherProcess:
    """Holds the teacher of one process: labels, refreshes, saves. One lock keeps those apart.

    Once labelling has failed nothing is saved any more: the teacher has then taken examples whose labels the broker may
    not have, and a snapshot would say that they are labelled. The next process begins at the snapshot before.

    Parameters
    ----------
    settings
        All settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.teacher = Teacher(settings)
        self.positions = Positions()
        self.labels = LabelTopic(settings)
        self.asked = ""  # why a refresh was asked for from outside
        # examples of which a killed process has written the label after its snapshot
        self._already: dict[str, Given] = {}
        self._repeated = RepeatedBatches()
        self._snapshots = SnapshotStore(settings.stores.snapshots_dir / MODEL)
        self._lock = asyncio.Lock()
        self._rhythms: list[asyncio.Task[None]] = []
        self._readers: list[asyncio.Task[None]] = []
        self._leaving = asyncio.Event()
        self._failed = False
        self._unacknowledged: list[Any] = []
        self._items = ItemReader(settings, self._send)
        self._requests = ModelRequests(settings, MODEL, "asked", lambda _: self.ask())
        self._stopping = threading.Event()

    async def start(self) -> None:
        """Resume from the latest snapshot, connect, read the catalogue and which examples have their labels.

        Raises
        ------
        StateInUseError
            Another teacher runs on this folder of state.
        """
        self._state_lock = StateLock(self._snapshots.directory, "a teacher")
        await self.labels.start()
        await self._items.start()
        await self._requests.start()
        ends = await asyncio.to_thread(self._resume)
        self._describe_items()
        self._repeat(await self.labels.written_since(ends))
        if ends is None:  # a kill before the first snapshot would not know where its labels began
            await asyncio.to_thread(self._save)
        _log.info("%s labels; %d examples have their label already", self.teacher.version, len(self._already))
        metrics.TEACHER_VERSION.set(self.teacher.number)
        sizes = self.settings.teacher
        rhythms = ((sizes.snapshot_seconds, self.save), (_LOOKED_EVERY_SECONDS, self._look))
        self._rhythms = [asyncio.create_task(every(seconds, work, self._leaving)) for seconds, work in rhythms]
        self._readers = [asyncio.create_task(work) for work in (self._items.follow(), self._requests.follow())]

    async def stop(self) -> None:
        """Leave a refresh where it is, save, and disconnect."""
        self._stopping.set()
        self._leaving.set()
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._rhythms, *self._readers, return_exceptions=True)
        await self.save()
        await self._requests.close()
        await self._items.close()
        await self.labels.stop()
        self._state_lock.close()

    async def handle(self, events: Sequence[Any], seek: Seek, highwater: Highwater) -> None:
        """Label one micro-batch of Faust events; they are acknowledged with the next snapshot."""
        # Faust cancels its agents when it stops: what has been begun must still come to its end
        await asyncio.shield(asyncio.ensure_future(self._handle(events, seek)))
        self.positions.show_lag(highwater)

    async def _handle(self, events: Sequence[Any], seek: Seek) -> None:
        async with self._lock:  # a snapshot must never hold offsets whose labels are not written
            try:
                await self._label(events, seek)
            except BaseException:
                self._failed = True
                raise

    async def _label(self, events: Sequence[Any], seek: Seek) -> None:
        self._describe_items()
        received = [Received(*one) for one in await self.positions.accept(events, seek)]
        for batch in self._repeated.arrange(received):
            await self._take(batch)
        self._unacknowledged += [event for event in events if self.positions.applied(event)]

    async def _take(self, received: list[Received]) -> None:
        """Let the teacher take a micro-batch, and write the labels that are not written yet."""
        made = await asyncio.to_thread(self.teacher.take, received)
        new = [label for label in made if self._already.pop(label.example_id, None) is None]
        await self.labels.send(new)
        show_labels(new, received, self.teacher)

    async def save(self) -> None:
        """Write a snapshot, then acknowledge the examples that it holds."""
        async with self._lock:
            if self._failed or self._repeated.waiting or not self._unacknowledged:
                return
            await asyncio.to_thread(self._save)
            acknowledged, self._unacknowledged = self._unacknowledged, []
        for event in acknowledged:
            event.ack()

    def ask(self, reason: str = "request") -> None:
        """Let a refresh begin as soon as the one that runs has ended."""
        self.asked = reason

    async def refresh(self, reason: str) -> Refreshed | None:
        """Train a copy while labelling goes on, and let it take over if it is not worse.

        Returns
        -------
        Refreshed or None
            What it was decided on; None where it was cut off, or labelling has failed meanwhile.
        """
        self.asked, self.teacher.drifted = "", False
        async with self._lock:
            work = await asyncio.to_thread(self.teacher.begin_refresh, Told(), self._stopping)
        _log.info("a refresh begins (%s) over %d examples", reason, len(self.teacher.window))
        metrics.TEACHER_ASKED.labels(reason=reason).inc()
        try:
            refreshed = await asyncio.to_thread(work)
        except Stopped:
            return None
        async with self._lock:
            further = await asyncio.to_thread(self.teacher.begin_catching_up, refreshed)
        refreshed = await asyncio.to_thread(further)
        async with self._lock:
            if self._failed:  # taking over would save
                return None
            adopted = await asyncio.to_thread(self._adopt, refreshed)
        refreshed = self.teacher.judged or refreshed
        await self._announce(refreshed, adopted, reason)
        return refreshed

    def due(self) -> str:
        """Why a refresh should begin now; empty where it should not."""
        sizes, since = self.settings.teacher, time.time() - self.teacher.refreshed_s
        if not self._repeated.over or len(self.teacher.window.view().segments) < 2:  # one to learn, one to judge by
            return ""
        if self.asked:
            return self.asked
        interval = sizes.interval_seconds
        if self.teacher.refreshes == 0 and math.isfinite(interval):
            return "first" if len(self.teacher.window) >= sizes.first_refresh_examples else ""
        if self.teacher.drifted and since >= sizes.drift_pause_seconds:
            return "drift"
        return "interval" if since >= interval and self.teacher.news else ""

    async def _look(self) -> None:
        reason = self.due()
        if reason:
            try:
                await self.refresh(reason)
            except Exception:
                self.teacher.refreshed_s = time.time()
                metrics.TEACHER_REFRESHES.labels(outcome="failed").inc()
                raise

    def _adopt(self, refreshed: Refreshed) -> bool:
        adopted = self.teacher.adopt(refreshed)
        if adopted:
            self._save()  # before the first label of this version
        return adopted

    async def _announce(self, refreshed: Refreshed, adopted: bool, reason: str) -> None:
        show_refresh(refreshed, adopted, self.teacher)
        said = announcement_of(refreshed, adopted, self.teacher, reason, self.positions.offsets)
        await self.labels.publish(topics.MODELS.name, announcements.encode(said), said.key)

    def _save(self) -> None:
        started = time.monotonic()
        state = {
            "teacher": self.teacher.state_dict(),
            "offsets": {str(partition): offset for partition, offset in self.positions.offsets.items()},
            "label_ends": {str(partition): offset for partition, offset in self.labels.ends.items()},
            "already": {example_id: list(given) for example_id, given in sorted(self._already.items())},
        }
        self._snapshots.save(state, {"model": MODEL, "version": self.teacher.version, "width": self._width()})
        self.teacher.window.sweep()
        metrics.SNAPSHOT_SECONDS.observe(time.monotonic() - started)

    def _resume(self) -> dict[int, int] | None:
        """Load the latest snapshot; returns where it saw the label topic end, None where there is no snapshot."""
        snapshot = self._snapshots.latest()
        if snapshot is None:
            return None
        state, width = snapshot.state, snapshot.meta["width"]
        if width != self._width():
            raise SettingsError(
                f"The snapshots of the teacher are {width} wide, teacher.scale times learning.dimension is"
                f" {self._width()}; set what it was, or move {self._snapshots.directory} away to begin anew."
            )
        self.teacher.load_state_dict(state["teacher"])
        self.positions.offsets = {int(partition): offset for partition, offset in state["offsets"].items()}
        self._already = _already_of(state["already"])
        _log.info("resumed as %s after %d labels", self.teacher.version, self.teacher.labelled)
        return {int(partition): end for partition, end in state["label_ends"].items()}

    def _repeat(self, written: Mapping[str, Given]) -> None:
        """Expect examples that have their label behind the snapshot."""
        self._already = {**self._already, **written}
        self._repeated = RepeatedBatches(self._already.values())

    def _width(self) -> int:
        return self.settings.teacher.scale * self.settings.learning.dimension

    def _describe_items(self) -> None:
        for item in self._items.take_changed():
            self.teacher.describe(item)

    async def _send(self, message: Message) -> None:
        await self.labels.publish(message.topic, message.value, message.key)


def _already_of(state: Mapping[str, Sequence[int]] | Sequence[str]) -> dict[str, Given]:
    """Read what a snapshot says of labels that were written before; those of earlier versions have the ids alone."""
    if isinstance(state, Mapping):
        return {example_id: Given(*given) for example_id, given in state.items()}
    return {example_id: Given(UNTOLD, 0, 0) for example_id in state}
