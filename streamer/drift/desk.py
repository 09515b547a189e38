"""The trainer's end of ``headwater.drift``: records go out, operators' requests come in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from exporters import announcements
from exporters.announcements import Announcement
from exporters.registry import Registry
from streamer import topics
from streamer.drift import records
from streamer.drift.monitor import Monitor
from streamer.drift.process_hands import process_hands
from streamer.drift.records import Request
from streamer.effects import Message
from streamer.model_requests import REQUEST_WAIT_MS
from streamer.settings import Settings

Send = Callable[[Message], Awaitable[None]]
_log = logging.getLogger(__name__)


class DriftDesk:
    """Gives a monitor its process: the topic, and the hands that only a process has.

    Requests are read from where the monitor's state says, so one that comes while the trainer is away is met when it is
    back; a first start begins at the end of the topic.

    Parameters
    ----------
    settings
        The broker.
    monitor
        The student's.
    registry
        Where versions lie.
    send
        Writes a message and waits until the broker has it.
    """

    def __init__(self, settings: Settings, monitor: Monitor, registry: Registry, send: Send) -> None:
        self._settings, self._monitor, self._send = settings, monitor, send
        self._announcements: list[Announcement] = []
        self._requests: asyncio.Queue[tuple[int, Request | None]] = asyncio.Queue()
        monitor.hands |= process_hands(registry, monitor.model, self._announcements.append)

    async def start(self) -> None:
        """Connect, and stand where the last request was read."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where the offset is too old for the topic
            fetch_max_wait_ms=REQUEST_WAIT_MS,
        )
        await self._consumer.start()
        partition = TopicPartition(topics.DRIFT.name, 0)
        self._consumer.assign([partition])
        if self._monitor.requests_read < 0:
            await self._consumer.seek_to_end(partition)
            self._monitor.requests_read = await self._consumer.position(partition)
        else:
            self._consumer.seek(partition, self._monitor.requests_read)

    async def follow(self) -> None:
        """Read requests until cancelled; :meth:`act` meets them."""
        async for record in self._consumer:
            self._requests.put_nowait((record.offset, _request(record.value)))

    def act(self) -> None:
        """Meet the requests that have come; nothing must be learnt meanwhile."""
        while not self._requests.empty():
            offset, request = self._requests.get_nowait()
            self._monitor.requests_read = offset + 1
            if request is not None:
                self._monitor.ask(request)

    async def report(self) -> None:
        """Write what has happened: alarms and actions, and what other processes are told."""
        for record in self._monitor.take_records():
            _log.warning("%s", records.describe(record))
            key = self._monitor.model.encode()
            await self._send(Message(topics.DRIFT.name, key, records.encode(record)))
        waiting, self._announcements[:] = list(self._announcements), []
        for announcement in waiting:
            await self._send(Message(topics.MODELS.name, announcement.key, announcements.encode(announcement)))

    async def close(self) -> None:
        """Leave the broker."""
        await self._consumer.stop()


def _request(raw: bytes | None) -> Request | None:
    try:
        found = None if raw is None else records.decode(raw)
    except msgspec.MsgspecError as error:
        _log.warning("a record of %s cannot be read: %s", topics.DRIFT.name, error)
        return None
    return found if isinstance(found, Request) else None
