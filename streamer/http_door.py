"""The event door behind HTTP: the worker's validation, then Kafka through aiokafka."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streamer.errors import EventError
from streamer.events import Event, Limits, decode, encode, validate
from streamer.publishing import route


class KafkaDoor:
    """Checks events and publishes them; an event is accepted when the broker has acknowledged it.

    Parameters
    ----------
    producer
        A started producer with ``acks="all"``.
    limits
        What the contract lets in.
    """

    def __init__(self, producer: AIOKafkaProducer, limits: Limits) -> None:
        self._producer = producer
        self._limits = limits
        self._in_order = asyncio.Lock()

    async def accept(self, raw: bytes) -> tuple[str, str | None, str | None]:
        """Publish one event as the client wrote it.

        Returns
        -------
        tuple
            (event_id, None, None), or ("", reason, message) when it was turned away.
        """
        try:
            event = decode(raw, self._limits)
        except EventError as error:
            return "", error.reason, str(error)
        try:
            await self._send(event, raw)
        except KafkaError as error:
            return "", "broker_unavailable", f"The broker did not take the event ({error!r}); send it again."
        return event.event_id, None, None

    async def publish_impression(self, impression: dict[str, Any]) -> None:
        """Publish an impression that the server made.

        Raises
        ------
        EventError
            The impression breaks the contract.
        """
        event = msgspec.convert(impression, Event)
        validate(event, self._limits)
        await self._send(event, encode(event))

    async def _send(self, event: Event, raw: bytes) -> None:
        topic, key = route(event)
        # The lock is held until the record has its place in the batch: a user's events keep the order of the request.
        async with self._in_order:
            sent = await self._producer.send(topic.name, value=raw, key=key)
        await sent
