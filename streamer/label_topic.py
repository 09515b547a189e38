"""The teacher's end of ``headwater.soft-labels``: labels out, and which examples have theirs already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownError

from streamer import soft_labels, topics
from streamer.errors import BrokerError
from streamer.repeated_batches import Given
from streamer.settings import Settings
from streamer.soft_labels import SoftLabel

_QUIET_MS = 500
_log = logging.getLogger(__name__)


class LabelTopic:
    """Writes labels, each acknowledged by the broker before :meth:`send` returns.

    :attr:`ends` says how far the topic was then: with it in a snapshot, a restart reads what a killed process has still
    written and does not write it again.

    Parameters
    ----------
    settings
        The broker.
    """

    def __init__(self, settings: Settings) -> None:
        self.ends: dict[int, int] = {}  # partition of the topic -> offset behind the last label known
        self._servers = settings.kafka.bootstrap_servers
        self._producer: AIOKafkaProducer

    async def start(self) -> None:
        """Connect, with a producer id: then a request that is sent again does not give a second label.

        The embedded broker has no producer ids. It runs on this machine, in memory, and that is said in the log.
        """
        self._producer = _producer(self._servers, idempotent=True)
        try:
            await self._producer.start()
        except UnknownError:
            _log.warning("%s gives no producer ids: if it loses an answer, a label may be there twice", self._servers)
            await self._producer.stop()
            self._producer = _producer(self._servers, idempotent=False)
            await self._producer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def send(self, labels: Sequence[SoftLabel]) -> None:
        """Write labels and wait until the broker has them all."""
        name = topics.SOFT_LABELS.name
        waiting = [await self._producer.send(name, soft_labels.encode(label), key=label.key) for label in labels]
        for written in await asyncio.gather(*waiting):
            self.ends[written.partition] = max(self.ends.get(written.partition, 0), written.offset + 1)

    async def publish(self, topic: str, value: bytes, key: bytes | None) -> None:
        """Write one record to another topic."""
        await self._producer.send_and_wait(topic, value, key=key)

    async def written_since(self, ends: Mapping[int, int] | None) -> dict[str, Given]:
        """Say which examples, by id, were labelled behind ``ends``; :attr:`ends` moves to the end of the topic.

        None stands for the end as it is now: a first start, which nothing has been written before.

        Raises
        ------
        BrokerError
            The topic is missing.
        """
        numbers = await self._producer.partitions_for(topics.SOFT_LABELS.name)
        if not numbers:
            raise BrokerError(f"The topic {topics.SOFT_LABELS.name} is missing: run `headwater topics`.")
        partitions = [TopicPartition(topics.SOFT_LABELS.name, number) for number in sorted(numbers)]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            now = await consumer.end_offsets(partitions)
            self.ends = {one.partition: int(end) for one, end in now.items()}
            return {} if ends is None else await self._read(consumer, ends)
        finally:
            await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer, since: Mapping[int, int]) -> dict[str, Given]:
        partitions = [TopicPartition(topics.SOFT_LABELS.name, number) for number in self.ends]
        consumer.assign(partitions)
        for one in partitions:
            consumer.seek(one, since.get(one.partition, 0))
        found: dict[str, Given] = {}
        more = True
        while more:  # until nothing comes: the embedded broker names an end that its last batch lies behind
            batches = await consumer.getmany(timeout_ms=_QUIET_MS)
            for label in (soft_labels.decode(record.value) for records in batches.values() for record in records):
                found.setdefault(label.example_id, Given.of(label))
            at = {one.partition: int(await consumer.position(one)) for one in partitions}
            more = bool(batches) or any(at[number] < end for number, end in self.ends.items())
        self.ends = at
        return found


def _producer(servers: str, idempotent: bool) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=idempotent, linger_ms=2, max_batch_size=262_144
    )
