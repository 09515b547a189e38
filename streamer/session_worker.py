"""What a worker process does with the stream, apart from reading it: state, delivery, upkeep."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiokafka.errors import KafkaError

from streamer import metrics, topics
from streamer.delivery import Delivery, observe
from streamer.effects import Effects, Record
from streamer.errors import SnapshotError
from streamer.gaps import GapGuard
from streamer.item_reader import ItemReader
from streamer.partitions import Partition
from streamer.settings import Settings

UPKEEP_SECONDS = 1.0
IDLE_SECONDS = 1.0
REFRESH_SECONDS = 0.1
REFRESHED_USERS_BUSY = 3  # in one round: some 2 ms of work beside the events
REFRESHED_USERS_IDLE = 16
SWEEP_GRACE_MS = 2_000  # an answer on its way through the broker still arrives
_log = logging.getLogger(__name__)


class Source(Protocol):
    """The reader of the events topic."""

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition again from an offset."""

    async def crash(self, error: Exception) -> None:
        """End the process: it cannot go on."""


class SessionWorker:
    """Applies batches to the partitions that this process holds, and delivers their effects.

    Parameters
    ----------
    settings
        All settings.
    source
        The reader of the events topic.
    """

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._partitions: dict[int, Partition] = {}
        self._guards: defaultdict[int, GapGuard] = defaultdict(GapGuard)
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._busy_at = 0.0
        self._delivery = Delivery(settings)
        self._items = ItemReader(settings, self._delivery.send)

    async def start(self) -> None:
        """Connect, and read the catalogue."""
        await self._delivery.start()
        await self._items.start()
        _log.info("the catalogue has %d items", len(self._items.items))
        works = (self._items.follow, self._upkeep, self._refresh)
        self._tasks = [asyncio.create_task(self._guarded(work)) for work in works]

    async def stop(self) -> None:
        """Write the event log to its end and close everything."""
        self._delivery.give_up()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        async with self._lock:
            await self._give_up(set(self._partitions))
            await self._items.close()
            await self._delivery.close()

    async def assign(self, numbers: set[int]) -> None:
        """Hold these partitions and no others; deliver what an earlier process has left in their outboxes."""
        async with self._lock:
            await self._give_up(set(self._partitions) - numbers)
            for number in sorted(numbers - set(self._partitions)):
                await self._open(number)
            metrics.ASSIGNED.set(len(self._partitions))

    async def revoke(self, numbers: set[int]) -> None:
        """Let go of partitions that another worker takes over."""
        async with self._lock:
            await self._give_up(numbers & set(self._partitions))
            metrics.ASSIGNED.set(len(self._partitions))

    async def handle(self, records: dict[int, list[Record]]) -> dict[int, int]:
        """Apply one batch, by partition.

        Returns
        -------
        dict[int, int]
            For each partition held here, the offset up to which all effects are durable and delivered.
        """
        async with self._lock:
            self._busy_at = time.monotonic()
            held = {number: part for number, part in records.items() if number in self._partitions}
            accepted = {number: await self._accept(number, part) for number, part in held.items()}
            await self._hand_over(await asyncio.to_thread(self._apply, accepted))
            return {number: self._partitions[number].state.applied.offset for number in held}

    async def _accept(self, number: int, records: Sequence[Record]) -> list[Record]:
        partition = self._partitions[number]
        accepted, again_from = self._guards[number].check(partition.state.applied.offset, records)
        if again_from is not None:
            _log.warning("partition %d skipped from %d to %d: reading again", number, again_from, records[-1].offset)
            await self._source.seek(number, again_from)
        return accepted

    def _apply(self, records: dict[int, list[Record]]) -> dict[int, list[Effects]]:
        # in one thread: threads of their own would fight for the interpreter and cost more than the disk's waits
        return {number: self._partitions[number].apply(part) for number, part in records.items() if part}

    async def _hand_over(self, applied: dict[int, list[Effects]]) -> None:
        everything = [one for effects in applied.values() for one in effects]
        if not everything:
            return
        messages = {number: [sent for one in effects for sent in one.messages] for number, effects in applied.items()}
        waiting = [state for one in everything if one.shown_ms is None for state in one.states]
        visible_ms = await self._delivery.deliver(messages, waiting)
        for number, effects in applied.items():
            if effects:
                self._partitions[number].state.mark_delivered(effects[-1].after.commit)
        observe(everything, visible_ms)

    async def _open(self, number: int) -> None:
        partition = await asyncio.to_thread(Partition, number, self._items.items, self._settings, self._delivery.show)
        await self._check_same_topic(partition)
        messages, states = partition.state.undelivered()
        await self._delivery.deliver({number: messages}, states)
        partition.state.mark_delivered(partition.state.applied.commit)
        self._guards.pop(number, None)
        self._partitions[number] = partition

    async def _check_same_topic(self, partition: Partition) -> None:
        end = await self._items.end_of(topics.EVENTS.name, partition.number)
        applied = partition.state.applied.offset
        if applied >= end:
            raise SnapshotError(
                f"{partition.state.path} has applied offset {applied} of {topics.EVENTS.name}, but the broker's "
                f"partition {partition.number} ends at {end}: the state belongs to another broker or an older topic. "
                f"Move {self._settings.stores.state_dir} away, or set stores.state_dir."
            )

    async def _give_up(self, numbers: set[int]) -> None:
        for number in numbers:
            partition = self._partitions.pop(number)
            await asyncio.to_thread(partition.flush_log, True)
            await asyncio.to_thread(partition.close)
            metrics.CONSUMER_LAG.labels(topic=topics.EVENTS.name, partition=str(number)).set(0)  # the next holder's

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            for number in list(self._partitions):
                read_until_ms = int(time.time() * 1_000) - SWEEP_GRACE_MS  # before the end, which ages behind the lock
                try:
                    end = await self._items.end_of(topics.EVENTS.name, number)
                except KafkaError as error:  # nothing may be closed by the clock while it is unknown what waits
                    _log.warning("the end of partition %d is not known: %r", number, error)
                else:
                    await self._look_after(number, end, read_until_ms)

    async def _refresh(self) -> None:
        """Write readable features a few users at a time, so that nobody's push waits behind them."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._delivery.refresh(REFRESHED_USERS_IDLE if self._idle else REFRESHED_USERS_BUSY)
            except Exception:  # the users stay in the store's queue; the events go on without this
                _log.exception("readable features could not be written; trying again")
                await asyncio.sleep(UPKEEP_SECONDS)

    @property
    def _idle(self) -> bool:
        return time.monotonic() - self._busy_at > IDLE_SECONDS

    async def _look_after(self, number: int, end: int, read_until_ms: int) -> None:
        async with self._lock:
            partition = self._partitions.get(number)
            if partition is None:
                return
            applied = partition.state.applied
            lag = max(end - applied.offset - 1, 0)
            metrics.CONSUMER_LAG.labels(topic=topics.EVENTS.name, partition=str(number)).set(lag)
            now_ms = applied.published_ms if lag else read_until_ms
            await self._hand_over({number: await asyncio.to_thread(partition.sweep, now_ms)})
            if self._idle:
                await asyncio.to_thread(partition.settle)
        await asyncio.to_thread(partition.flush_log)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            await self._source.crash(error)
