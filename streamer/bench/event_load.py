"""Events at a rate: a source played as if it happened now, each event at its time, whatever the system does with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

import msgspec
from aiokafka import AIOKafkaProducer

from streamer.bench.arrivals import poisson
from streamer.events import Event, encode
from streamer.publishing import route
from streamer.sources import Source

OnDue = Callable[[int, float], Awaitable[None]]


def endless(source: Source) -> Iterator[Event]:
    """Give a source's interactions again and again, under new ids."""
    for turn in count():
        given = 0
        for event in source.events():
            if event.type == "interaction":
                given += 1
                yield msgspec.structs.replace(event, event_id=f"{event.event_id}-{turn}", impression_id=None)
        if not given:
            raise ValueError(f"{source.name} has no interactions")


class EventLoad:
    """Publishes events open loop; event times are the times of publication.

    Parameters
    ----------
    producer
        A started producer.
    events
        What to publish.
    seed
        Of the arrivals (Poisson).
    """

    def __init__(self, producer: AIOKafkaProducer, events: Iterator[Event], seed: int = 7) -> None:
        self._producer, self._events, self._seed = producer, events, seed
        self.published = 0
        self.late_ms: list[float] = []

    async def run(self, rate: float, seconds: float, on_due: OnDue | None = None, every: int = 1) -> None:
        """Publish for some seconds.

        Parameters
        ----------
        rate, seconds
            Events a second, and for how long.
        on_due
            Awaited at every so many events, given the number and the moment (``time.perf_counter``) it was due; it must
            not wait for anything.
        every
            See ``on_due``.
        """
        started = time.perf_counter()
        for number, due in enumerate((started + poisson(rate, seconds, self._seed + self.published)).tolist()):
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            self.late_ms.append(1_000 * (time.perf_counter() - due))
            await self.publish(next(self._events))
            if on_due is not None and number % every == 0:
                await on_due(number, due)

    async def publish(self, event: Event) -> None:
        """Publish one event as of now."""
        event = msgspec.structs.replace(event, event_time_ms=time.time_ns() // 1_000_000)
        topic, key = route(event)
        await self._producer.send(topic.name, encode(event), key=key)
        self.published += 1
