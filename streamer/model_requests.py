"""What is asked of a running learner as records on ``headwater.models``: a refresh, or rows that a server has lost."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from exporters import announcements
from exporters.announcements import Announcement, Kind
from streamer import topics
from streamer.settings import Settings

REQUEST_WAIT_MS = 200  # of an empty fetch, which the embedded broker holds to its end; nobody asks every second
_log = logging.getLogger(__name__)


class ModelRequests:
    """Follows the topic from its present end: what was asked before a start is answered by the start.

    Parameters
    ----------
    settings
        The broker.
    model
        Whose requests count.
    kind
        Which: ``asked`` for a refresh, ``repair`` for rows.
    heard
        Called with each request.
    """

    def __init__(self, settings: Settings, model: str, kind: Kind, heard: Callable[[Announcement], None]) -> None:
        self._settings, self._model, self._kind, self._heard = settings, model, kind, heard

    async def start(self) -> None:
        """Stand at the end of the topic."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka.bootstrap_servers,
            enable_auto_commit=False,
            fetch_max_wait_ms=REQUEST_WAIT_MS,
        )
        await self._consumer.start()
        partition = TopicPartition(topics.MODELS.name, 0)
        self._consumer.assign([partition])
        await self._consumer.seek_to_end(partition)
        await self._consumer.position(partition)

    async def follow(self) -> None:
        """Go on until cancelled."""
        async for record in self._consumer:
            request = None if record.value is None else request_of(record.value, self._model, self._kind)
            if request is not None:
                self._heard(request)

    async def close(self) -> None:
        """Leave the broker."""
        await self._consumer.stop()


def request_of(raw: bytes, model: str, kind: Kind) -> Announcement | None:
    """Read a request of a kind for a model; None for everything else.

    >>> raw = b'{"name": "student", "kind": "repair", "table": "item_knn", "buckets": [3]}'
    >>> request_of(raw, "student", "repair").buckets
    [3]
    """
    try:
        found = announcements.decode(raw)
    except msgspec.MsgspecError as error:
        _log.warning("an announcement cannot be read: %s", error)
        return None
    return found if found.kind == kind and found.name == model else None
