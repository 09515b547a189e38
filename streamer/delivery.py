"""Bringing effects to their receivers: Kafka topics and the online store. At least once; receivers are idempotent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer

from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from streamer import metrics, topics
from streamer.effects import Effects, Message
from streamer.settings import Settings

LARGEST_MESSAGE_BYTES = topics.EXAMPLES.max_message_bytes
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Delivery:
    """Produces messages and pushes users' states, and tries again until the receiver has them.

    Parameters
    ----------
    settings
        Broker and online store.
    """

    def __init__(self, settings: Settings) -> None:
        self._giving_up = asyncio.Event()
        stores = settings.stores
        self._store = OnlineStore.open(stores.feast_dir, stores.online_store, stores.redis_url)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            acks="all",
            max_request_size=LARGEST_MESSAGE_BYTES,
            max_batch_size=262_144,
        )

    async def start(self) -> None:
        """Connect to the broker."""
        await self._producer.start()

    def give_up(self) -> None:
        """From now on a delivery that fails is not tried again; what it held stays in the outbox."""
        self._giving_up.set()

    async def close(self) -> None:
        """Flush and close both."""
        await self._producer.stop()
        await asyncio.to_thread(self._store.close)

    async def deliver(self, messages: Mapping[int, Sequence[Message]], states: Sequence[UserState]) -> float:
        """Return when every receiver has everything: the push does not wait for the messages.

        Parameters
        ----------
        messages
            What to produce, by events partition; each partition's messages keep their order.
        states
            Users to push, in one batch.

        Returns
        -------
        float
            When the users became visible, in milliseconds of the wall clock.
        """
        visible_ms, _ = await asyncio.gather(self._push(states), self._until_done(lambda: self._produce(messages)))
        return visible_ms

    def show(self, states: Sequence[UserState]) -> float | None:
        """Push users' states once, from a worker thread; returns when that was, or None where it failed."""
        try:
            if states:
                self._store.push(states)
        except Exception:  # the delivery after the commit tries again until it succeeds
            _log.exception("the online store did not take %d states at once", len(states))
            return None
        return time.time() * 1_000

    async def refresh(self, users: int) -> int:
        """Write the readable features of a few users; returns how many users there were."""
        return await asyncio.to_thread(self._store.refresh, users)

    async def send(self, message: Message) -> None:
        """Produce one message and wait for the broker."""
        await self._until_done(lambda: self._produce({0: [message]}))

    async def _push(self, states: Sequence[UserState]) -> float:
        if states:
            await self._until_done(lambda: asyncio.to_thread(self._store.push, states))
        return time.time() * 1_000

    async def _produce(self, messages: Mapping[int, Sequence[Message]]) -> None:
        await asyncio.gather(*(self._produce_of(number, part) for number, part in messages.items()))

    async def _produce_of(self, number: int, messages: Sequence[Message]) -> None:
        await self._produce_examples(number, [one for one in messages if one.topic == topics.EXAMPLES.name])
        others = [one for one in messages if one.topic != topics.EXAMPLES.name]
        await asyncio.gather(*[await self._producer.send(one.topic, one.value, key=one.key) for one in others])

    async def _produce_examples(self, number: int, messages: Sequence[Message]) -> None:
        """Produce batch after batch, each after the broker has the one before: positions must only grow.

        An example goes to the partition of its event, whichever way the client has partitioned.
        """
        if not messages:
            return
        target = number % len(await self._producer.partitions_for(topics.EXAMPLES.name))
        batch = self._producer.create_batch()
        for one in messages:
            if batch.append(key=one.key, value=one.value, timestamp=None) is None:
                await self._send_batch(batch, target)
                batch = self._producer.create_batch()
                batch.append(key=one.key, value=one.value, timestamp=None)
        await self._send_batch(batch, target)

    async def _send_batch(self, batch: Any, partition: int) -> None:
        await (await self._producer.send_batch(batch, topics.EXAMPLES.name, partition=partition))

    async def _until_done(self, attempt: Callable[[], Awaitable[None]]) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await attempt()
            except Exception:  # whatever the receiver's trouble is, the outbox must not be passed by
                if self._giving_up.is_set():
                    raise
                _log.exception("a delivery failed; trying again in %.1f s", pause_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._giving_up.wait(), pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


def observe(effects: Sequence[Effects], visible_ms: float) -> None:
    """Count delivered effects in the process's metrics."""
    for one in effects:
        for published_ms in one.published_ms:
            metrics.SESSION_VISIBLE_SECONDS.observe(max((one.shown_ms or visible_ms) - published_ms, 0) / 1_000)
        metrics.DUPLICATES.inc(one.counters["duplicates"])
        metrics.LATE.inc(one.counters["late"])
        for name, value in one.counters.items():
            _count(name, value)


def _count(name: str, value: int) -> None:
    group, _, label = name.partition(":")
    if label and group == "consumed":
        metrics.EVENTS_CONSUMED.labels(type=label).inc(value)
    elif label and group == "dead_letter":
        metrics.DEAD_LETTERS.labels(reason=label).inc(value)
    elif label and group == "examples":
        metrics.EXAMPLES_WRITTEN.labels(kind=label).inc(value)
