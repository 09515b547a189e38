"""Asking the teacher for a refresh: a record on ``headwater.models`` that the running teacher follows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from exporters import announcements
from exporters.announcements import Announcement
from streamer import topics
from streamer.announcing import announce
from streamer.settings import Settings

_log = logging.getLogger(__name__)


def ask_for_refresh(settings: Settings, model: str) -> None:
    """Write the request; raises :class:`~streamer.errors.BrokerError` where no broker takes it."""
    asked = Announcement(name=model, kind="asked", reason="request", time_ms=time.time_ns() // 1_000_000)
    announce(asked, settings.kafka.bootstrap_servers)


class RefreshRequests:
    """Follows the topic from its present end: a request of before the start is answered by the start.

    Parameters
    ----------
    settings
        The broker.
    model
        Whose requests count.
    asked
        Called for each.
    """

    def __init__(self, settings: Settings, model: str, asked: Callable[[], None]) -> None:
        self._model, self._asked = model, asked
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            enable_auto_commit=False,
            fetch_max_wait_ms=settings.kafka.fetch_max_wait_ms,
        )

    async def start(self) -> None:
        """Stand at the end of the topic."""
        await self._consumer.start()
        partition = TopicPartition(topics.MODELS.name, 0)
        self._consumer.assign([partition])
        await self._consumer.seek_to_end(partition)
        await self._consumer.position(partition)

    async def follow(self) -> None:
        """Go on until cancelled."""
        async for record in self._consumer:
            if record.value is not None and self._is_request(record.value):
                self._asked()

    async def close(self) -> None:
        """Leave the broker."""
        await self._consumer.stop()

    def _is_request(self, raw: bytes) -> bool:
        try:
            found = announcements.decode(raw)
        except msgspec.MsgspecError as error:
            _log.warning("an announcement cannot be read: %s", error)
            return False
        return found.kind == "asked" and found.name == self._model
