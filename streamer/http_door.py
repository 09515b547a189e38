"""The event door behind HTTP: the worker's validation, then Kafka through aiokafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streamer.errors import BrokerError, EventError
from streamer.events import Event, Limits, decode, validate
from streamer.publishing import route

_PROBE_SECONDS = 1.0
_TOGETHER_SECONDS = 0.02  # impressions wait for each other: a request to the broker costs more than a record in it


class KafkaDoor:
    """Checks events and publishes them; an event is accepted when the broker has acknowledged it.

    While the broker is silent, events wait for ``wait_seconds`` at most; from then on they are turned away at once, but
    for one a second that tries. Impressions, which nobody else would send again, wait for ``patience_seconds``, a
    bounded number of them.

    Parameters
    ----------
    limits
        What the contract lets in; may be replaced while events come.
    producer
        A started producer with ``acks="all"``; None until :meth:`connect`.
    wait_seconds
        How long an event waits for the broker.
    patience_seconds
        How long an impression waits for the broker.
    most_waiting
        Impressions that may wait at once; further ones are refused.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        limits: Limits,
        producer: AIOKafkaProducer | None = None,
        *,
        wait_seconds: float = 5.0,
        patience_seconds: float = 600.0,
        most_waiting: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._producer = producer
        self._wait_seconds, self._patience_seconds = wait_seconds, patience_seconds
        self._most_waiting, self._clock = most_waiting, clock
        self._in_order = asyncio.Lock()
        self._waiting_impressions = 0
        self._departure: asyncio.Event | None = None  # of the impressions that wait for each other
        self._departing: set[str | None] = set()  # their users
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._asked: float | None = None  # since when the broker owes an answer
        self._next_probe = 0.0

    def connect(self, producer: AIOKafkaProducer) -> None:
        """Publish through a producer from now on."""
        self._producer = producer

    @property
    def silent_seconds(self) -> float:
        """How long the broker has not answered although it was asked."""
        return 0.0 if self._asked is None else self._clock() - self._asked

    async def accept(self, raw: bytes) -> tuple[str, str | None, str | None]:
        """Publish one event as the client wrote it.

        Returns
        -------
        tuple
            (event_id, None, None), or ("", reason, message) when it was turned away.
        """
        try:
            event = decode(raw, self.limits)
        except EventError as error:
            return "", error.reason, str(error)
        if event.user_id in self._departing:  # an event never overtakes the list that it answers
            self._depart()
            await asyncio.sleep(0)
        try:
            self._check_broker()
            async with asyncio.timeout(self._wait_seconds):
                await self._send(event, raw)
        except (KafkaError, BrokerError, TimeoutError) as error:
            said = str(error) or f"no answer within {self._wait_seconds:g} s"
            return "", "broker_unavailable", f"The broker did not take the event ({said}); send it again."
        return event.event_id, None, None

    async def publish_impression(self, impression: dict[str, Any]) -> None:
        """Publish an impression that the server made, with those that are made within 20 ms of it.

        Raises
        ------
        EventError
            The impression breaks the contract.
        BrokerError
            The broker is silent, and too many impressions wait already.
        """
        event = msgspec.convert(impression, Event)
        raw = validate(event, self.limits)
        if self._waiting_impressions >= self._most_waiting:
            raise BrokerError(f"{self._waiting_impressions} impressions wait for the broker already; this one is lost")
        self._waiting_impressions += 1
        try:
            await self._gathered(event.user_id)
            await self._send_patiently(event, raw)
        finally:
            self._waiting_impressions -= 1

    async def _gathered(self, user_id: str | None) -> None:
        """Wait for others to go with, for a moment, or until the user has acted."""
        if self._departure is None:
            self._departure = asyncio.Event()
            asyncio.get_running_loop().call_later(_TOGETHER_SECONDS, self._depart)
        self._departing.add(user_id)
        await self._departure.wait()

    def _depart(self) -> None:
        """Let the impressions that wait go, in the order of their coming.

        The clock of a departure that an event has brought forward may call this for the next one: it leaves early.
        """
        if self._departure is not None:
            self._departure.set()
        self._departure = None
        self._departing.clear()

    async def _send_patiently(self, event: Event, raw: bytes) -> None:
        """Send again what the client library has given up; it may arrive twice and counts once, by its id."""
        until = self._clock() + self._patience_seconds
        while True:
            try:
                return await self._send(event, raw)
            except KafkaError as error:
                if not _is_silence(error) or self._clock() > until:
                    raise
                await asyncio.sleep(_PROBE_SECONDS)

    def _check_broker(self) -> None:
        if self.silent_seconds <= self._wait_seconds:
            return
        if self._clock() < self._next_probe:
            raise BrokerError(f"it has been silent for {self.silent_seconds:.0f} s")
        self._next_probe = self._clock() + _PROBE_SECONDS

    async def _send(self, event: Event, raw: bytes) -> None:
        if self._producer is None:
            raise BrokerError("this server has not reached it yet")
        topic, key = route(event)
        if self._asked is None:
            self._asked = self._clock()
        # The lock is held until the record has its place in the batch: a user's events keep the order of the request.
        async with self._in_order:
            try:
                sent = await self._producer.send(topic.name, value=raw, key=key)
            except KafkaError as error:
                self._heard_from(error)
                raise
        self._unanswered.add(sent)
        sent.add_done_callback(self._answered)
        await asyncio.shield(sent)  # who gives up waiting takes nothing back: the record may still arrive

    def _answered(self, sent: asyncio.Future[Any]) -> None:
        self._unanswered.discard(sent)
        if not sent.cancelled():
            self._heard_from(sent.exception())

    def _heard_from(self, error: BaseException | None) -> None:
        """Take an outcome for a sign of life, unless it is one of silence."""
        if not _is_silence(error):
            self._asked = self._clock() if self._unanswered else None


def _is_silence(error: BaseException | None) -> bool:
    """Whether an error says that nobody answered, or that nobody could for now: the library gives up after 40 s."""
    return isinstance(error, KafkaTimeoutError) or (isinstance(error, KafkaError) and error.retriable)
