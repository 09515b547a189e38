"""The catalogue in a worker's memory: every partition of the items topic, from its beginning."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from feature_store.user_state import ItemInfo
from streamer import dead_letter, metrics, topics
from streamer.effects import Message
from streamer.errors import BrokerError, EventError
from streamer.events import Event, Limits, decode
from streamer.settings import Settings

Send = Callable[[Message], Awaitable[None]]
_log = logging.getLogger(__name__)


class ItemReader:
    """Keeps :attr:`items` in step with the items topic.

    Parameters
    ----------
    settings
        Broker, limits, and where it is noted which bad records have been reported: every worker reads the whole topic
        at every start, but a bad record becomes one dead letter only.
    send
        Produces a dead letter.
    """

    def __init__(self, settings: Settings, send: Send) -> None:
        self.items: dict[str, ItemInfo] = {}
        self._taken: dict[str, ItemInfo] = {}
        self._limits = Limits(**settings.events.model_dump())
        self._reported = ReportedRecords(settings.stores.sessions_dir / "items.sqlite")
        self._send = send
        self._consumer = AIOKafkaConsumer(  # without a group it gets all partitions
            topics.ITEMS.name,
            bootstrap_servers=settings.kafka.bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
        )

    async def start(self) -> None:
        """Read the catalogue as it is now.

        Raises
        ------
        BrokerError
            Where the items topic is missing.
        """
        await self._consumer.start()
        partitions = self._consumer.assignment()
        if not partitions:
            raise BrokerError(f"The topic {topics.ITEMS.name} is missing: run `headwater topics`.")
        ends = await self._consumer.end_offsets(partitions)
        waiting = {partition for partition in partitions if ends[partition] > 0}
        while waiting:
            await self._read(timeout_ms=200)
            waiting = {one for one in waiting if await self._consumer.position(one) < ends[one]}

    async def follow(self) -> None:
        """Go on reading until cancelled."""
        while True:
            await self._read(timeout_ms=1_000)

    def take_changed(self) -> list[ItemInfo]:
        """Items that are new or have changed since the last call."""
        changed = [info for item_id, info in self.items.items() if self._taken.get(item_id) is not info]
        self._taken.update((info.item_id, info) for info in changed)
        return changed

    async def end_of(self, topic: str, partition: int) -> int:
        """Offset behind the last record of any partition on this broker."""
        wanted = TopicPartition(topic, partition)
        ends = await self._consumer.end_offsets([wanted])
        return int(ends[wanted])

    async def close(self) -> None:
        """Leave the broker."""
        await self._consumer.stop()
        self._reported.close()

    async def _read(self, timeout_ms: int) -> None:
        batches = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=2_000)
        for records in batches.values():
            for record in records:
                await self._apply(record)
            await asyncio.sleep(0)

    async def _apply(self, record: ConsumerRecord) -> None:
        if record.value is None:
            self.items.pop((record.key or b"").decode(errors="replace"), None)
            return
        try:
            event = decode(record.value, self._limits)
            if event.type != "item" or event.item_id is None:
                raise EventError("wrong_topic", f"{event.type} events belong on {topics.EVENTS.name}")
        except EventError as error:
            await self._report(record, error)
        else:
            self.items[event.item_id] = info_of(event.item_id, event)

    async def _report(self, record: ConsumerRecord, error: EventError) -> None:
        if (record.partition, record.offset) in self._reported:
            return
        letter = dead_letter.to_letter(
            error,
            record.value,
            topic=topics.ITEMS.name,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
        )
        await self._send(Message(topics.DEAD_LETTER.name, *dead_letter.to_record(letter)))
        self._reported.add((record.partition, record.offset))
        metrics.DEAD_LETTERS.labels(reason=error.reason).inc()


class ReportedRecords:
    """Which bad records already are dead letters; a file shared by the workers of one machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS reported (partition INTEGER, offset INTEGER, PRIMARY KEY (partition, offset))"
        )

    def __contains__(self, position: tuple[int, int]) -> bool:
        query = "SELECT 1 FROM reported WHERE partition = ? AND offset = ?"
        return self._connection.execute(query, position).fetchone() is not None

    def add(self, position: tuple[int, int]) -> None:
        """Note a record's partition and offset."""
        self._connection.execute("INSERT OR IGNORE INTO reported VALUES (?, ?)", position)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def info_of(item_id: str, event: Event) -> ItemInfo:
    """Give what an item event says of its item."""
    return ItemInfo(
        item_id=item_id,
        title=event.title or "",
        categories=event.categories or [],
        price=event.price,
        published_time_ms=event.published_time_ms,
        available=event.available is not False,
    )
