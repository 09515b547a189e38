"""A student's own reader of the soft labels' topic."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streamer import topics
from streamer.errors import BrokerError
from streamer.model_names import named
from streamer.settings import Settings
from streamer.soft_labels import SoftLabel, decode

GROUP = "headwater-labels"
_log = logging.getLogger(__name__)


class LabelReader:
    """Follows the topic from where a snapshot stands; each student has its own group and reads every label.

    Parameters
    ----------
    settings
        Broker, limits, and the student's name.
    """

    def __init__(self, settings: Settings) -> None:
        self.group = named(GROUP, settings.learning.name)
        self.positions: dict[int, int] = {}  # of the topic, behind what was taken
        self._servers = settings.kafka.bootstrap_servers
        self._staleness_ms = round(settings.labels.staleness_seconds * 1_000)
        self._inbox: deque[SoftLabel] = deque(maxlen=settings.labels.held)  # more would not be held either
        self._read: dict[int, int] = {}
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self, positions: Mapping[int, int]) -> None:
        """Connect, and read up to the end of the topic as it is now.

        Without positions it begins with the labels that may still be in time for an example; older ones lie in the
        store.

        Raises
        ------
        BrokerError
            The topic is missing.
        """
        consumer = self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=200,
        )
        await consumer.start()
        numbers = await self._numbers()
        partitions = [TopicPartition(topics.SOFT_LABELS.name, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = await self._starts(consumer, partitions, ends, positions)
        for partition, offset in starts.items():
            consumer.seek(partition, offset)
            self._read[partition.partition] = offset
        self.positions = dict(self._read)
        waiting = {one for one, end in ends.items() if starts[one] < end}
        while waiting:
            await self._receive(timeout_ms=200)
            waiting = {one for one in waiting if await consumer.position(one) < ends[one]}

    async def follow(self) -> None:
        """Go on reading until cancelled."""
        while True:
            await self._receive(timeout_ms=1_000)

    def take(self) -> list[SoftLabel]:
        """Labels that have come since the last call; :attr:`positions` then stand behind them."""
        taken = list(self._inbox)
        self._inbox.clear()
        self.positions = dict(self._read)
        return taken

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Tell the broker how far a snapshot is: others see the lag by it, nothing is read from there."""
        if self._consumer is not None and positions:
            offsets = {TopicPartition(topics.SOFT_LABELS.name, number): at for number, at in positions.items()}
            await self._consumer.commit(offsets)

    async def close(self) -> None:
        """Leave the broker."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _numbers(self) -> set[int]:
        # a consumer without a group: subscribing in the group would set off a rebalance that assign() knows nothing of
        looking = AIOKafkaConsumer(topics.SOFT_LABELS.name, bootstrap_servers=self._servers, enable_auto_commit=False)
        await looking.start()
        try:
            found: set[int] = looking.partitions_for_topic(topics.SOFT_LABELS.name) or set()
        finally:
            await looking.stop()
        if not found:
            raise BrokerError(f"The topic {topics.SOFT_LABELS.name} is missing: run `headwater topics`.")
        return found

    async def _starts(
        self, consumer: AIOKafkaConsumer, partitions: list[Any], ends: Mapping[Any, int], positions: Mapping[int, int]
    ) -> dict[Any, int]:
        """Where reading begins in each partition; a position past the end is that of another broker's topic."""
        if positions:
            firsts = await consumer.beginning_offsets(partitions)
            known = {one: positions.get(one.partition, 0) for one in partitions}
            return {one: max(at, firsts[one]) if at <= ends[one] else firsts[one] for one, at in known.items()}
        since_ms = time.time_ns() // 1_000_000 - self._staleness_ms
        found = await consumer.offsets_for_times({one: since_ms for one in partitions})
        return {one: ends[one] if found.get(one) is None else found[one].offset for one in partitions}

    async def _receive(self, timeout_ms: int) -> None:
        assert self._consumer is not None
        batches = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=2_000)
        for partition, records in batches.items():
            for record in records:
                self._keep(record.partition, record.offset, record.value)
            self._read[partition.partition] = records[-1].offset + 1
        await asyncio.sleep(0)

    def _keep(self, partition: int, offset: int, value: bytes | None) -> None:
        try:
            self._inbox.append(decode(value or b""))
        except msgspec.MsgspecError as error:
            _log.error("a label at partition %d, offset %d cannot be read: %s", partition, offset, error)
