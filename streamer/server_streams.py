"""What a server follows: rows, announcements and the catalogue, from the beginning of their topics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from streamer.errors import BrokerError
from streamer.topics import Topic

Apply = Callable[[list[ConsumerRecord]], Awaitable[None]]
_log = logging.getLogger(__name__)
_BATCH_RECORDS = 2_000
_RETRY_SECONDS = 1.0


class Follower:
    """Reads every partition of some topics, without a consumer group, and goes on reading.

    Offsets are never committed: what a server holds is in memory, so every start reads from the beginning.

    Parameters
    ----------
    bootstrap_servers
        The broker.
    appliers
        For each topic, what to do with records, in their order within a partition.
    """

    def __init__(self, bootstrap_servers: str, appliers: Mapping[Topic, Apply]) -> None:
        self._appliers = {topic.name: apply for topic, apply in appliers.items()}
        self._consumer = AIOKafkaConsumer(
            *self._appliers,
            group_id=None,
            bootstrap_servers=bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            fetch_max_bytes=64 * 1_048_576,
            max_partition_fetch_bytes=16 * 1_048_576,
        )
        self._behind: dict[TopicPartition, int] | None = None
        self.spans: dict[str, tuple[int, int]] = {}  # first and end offset of each topic's first partition at the start
        self.caught_up = asyncio.Event()

    @property
    def behind(self) -> dict[str, int]:
        """Records per topic still to be read until the end that was found at the start."""
        missing: dict[str, int] = {}
        for partition, records in (self._behind or {}).items():
            missing[partition.topic] = missing.get(partition.topic, 0) + records
        return missing

    async def places(self) -> dict[str, tuple[int, int]]:
        """Ask the broker for the ends of the topics; (records applied, records there) by topic, as offsets added up.

        Raises
        ------
        aiokafka.errors.KafkaError
            The broker does not answer.
        """
        partitions = sorted(self._consumer.assignment())
        found: dict[str, tuple[int, int]] = {}
        for partition, end in (await self._consumer.end_offsets(partitions)).items():
            applied, there = found.get(partition.topic, (0, 0))
            found[partition.topic] = (applied + await self._consumer.position(partition), there + end)
        return found

    async def start(self) -> None:
        """Connect and take the partitions.

        Raises
        ------
        BrokerError
            A topic is missing.
        """
        try:
            await self._consumer.start()
        except UnknownTopicOrPartitionError as error:
            names = ", ".join(self._appliers)
            raise BrokerError(f"One of the topics {names} is missing: run `headwater topics`.") from error
        partitions = sorted(self._consumer.assignment())
        self._ends = await self._consumer.end_offsets(partitions)
        begins = await self._consumer.beginning_offsets(partitions)
        self._behind = {one: end - begins[one] for one, end in self._ends.items() if end > begins[one]}
        self.spans = {one.topic: (begins[one], self._ends[one]) for one in partitions if one.partition == 0}

    async def run(self) -> None:
        """Read until cancelled; an error is logged and reading goes on where it was."""
        while True:
            try:
                await self._read()
            except asyncio.CancelledError:
                raise
            except Exception:
                _log.exception("records could not be applied; going on")
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Leave the broker."""
        await self._consumer.stop()

    async def _read(self) -> None:
        await self._look()
        batches = await self._consumer.getmany(timeout_ms=200, max_records=_BATCH_RECORDS)
        for partition, records in batches.items():
            await self._appliers[partition.topic](records)

    async def _look(self) -> None:
        """See how far it is to the end that was found at the start."""
        if self._behind is None or self.caught_up.is_set():
            return
        # The position counts, not the records: a compacted topic has gaps.
        left = {one: self._ends[one] - await self._consumer.position(one) for one in self._behind}
        self._behind = {one: records for one, records in left.items() if records > 0}
        if not self._behind:
            self.caught_up.set()
