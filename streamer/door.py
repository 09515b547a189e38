"""Prequential quality at the server's door: ask for a list just before an event happens, then let it happen.

The whole path is judged: the session as the feature store has it, the candidates, the ONNX student, the filters. For a
seeded sample of the events the driver waits until the user's previous event shows in the session, asks ``/recommend``
(with ``log: false``: the recorded events were not caused by our lists), and only then publishes the event. Users do not
wait for each other, but the driver stays at most ``lead`` events ahead of what the learner has learnt.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from streamer.errors import BrokerError, HeadwaterError
from streamer.events import Event, encode
from streamer.publishing import route

DEPTH = 10
WAIT_MS = 5_000
_RECENT_USERS_WAIT = 60.0  # seconds after which a user's previous event is visible without asking


@dataclass
class DoorReport:
    """What was published and how the served lists did."""

    published: int = 0
    ranks: dict[str, int] = field(default_factory=dict)  # event_id -> rank of its item in the served list, 0: not there
    latencies_ms: list[float] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)
    not_visible: int = 0
    fallbacks: int = 0
    most_ahead: int = 0

    def quality(self) -> dict[str, float]:
        """``hr@10`` and ``ndcg@10`` of the served lists."""
        ranks = [rank for rank in self.ranks.values() if rank]
        asked = max(len(self.ranks), 1)
        return {
            f"hr@{DEPTH}": len(ranks) / asked,
            f"ndcg@{DEPTH}": sum(1 / math.log2(rank + 1) for rank in ranks) / asked,
        }


class Door:
    """Publishes events in order and judges the server on a sample of them.

    Parameters
    ----------
    producer
        A started producer.
    session
        An HTTP session whose base URL is the server's.
    backlog
        Given how many events are published, tells how many of them are not learnt yet.
    share
        Share of the events after the warm-up at which the server is asked.
    lead
        How many events the driver may be ahead of the learner.
    most_per_second
        Events are kept at least this far apart.
    seed
        Of the sample.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        session: aiohttp.ClientSession,
        backlog: Callable[[int], Awaitable[int]],
        *,
        share: float = 0.1,
        lead: int = 256,
        most_per_second: float = 400.0,
        seed: int = 7,
    ) -> None:
        self._producer, self._session, self._backlog = producer, session, backlog
        self.share, self.lead, self.seed, self.most_per_second = share, lead, seed, most_per_second
        self.report = DoorReport()
        self._chains: dict[str, asyncio.Task[None]] = {}
        self._previous: dict[str, tuple[str, float]] = {}  # user -> last event published, when
        self._next_at = 0.0
        self._room = lead  # events that may be begun before the backlog is asked for again

    def sample(self, events: int, warm_up: float = 0.2) -> set[int]:
        """Numbers of the events at which the server is asked: a fixed share after the warm-up."""
        first = int(events * warm_up)
        number = math.ceil(self.share * (events - first))
        return set(random.Random(self.seed).sample(range(first, events), min(number, events - first)))

    async def run(
        self,
        events: Iterable[Event],
        asked: set[int],
        pace: Callable[[Event], Awaitable[None]],
        on_event: Callable[[], None],
    ) -> None:
        """Publish all events; ``pace`` waits for an event's time, ``on_event`` is called for each one."""
        for number, event in enumerate(events):
            await pace(event)
            await self._stay_close()
            await self._take(event, number in asked)
            on_event()
        await asyncio.gather(*self._chains.values())
        await self._producer.flush()

    async def _take(self, event: Event, ask: bool) -> None:
        user = event.user_id or ""
        before = self._chains.get(user)
        if before is not None and before.done():
            await self._chains.pop(user)
            before = None
        if before is None and not ask:
            await self._publish(event)
            return
        self._chains[user] = asyncio.create_task(self._after(before, event, ask))

    async def _after(self, before: asyncio.Task[None] | None, event: Event, ask: bool) -> None:
        if before is not None:
            await before
        if ask:
            await self._ask(event)
        await self._publish(event)

    async def _publish(self, event: Event) -> None:
        topic, key = route(event)
        await self._producer.send(topic.name, encode(event), key=key)
        self._previous[event.user_id or ""] = (event.event_id, time.monotonic())
        self.report.published += 1

    async def _stay_close(self) -> None:
        """Wait while the events begun are ``lead`` ahead of the events learnt."""
        await self._spacing()
        while self._room <= 0:
            published = self.report.published
            backlog = await self._backlog(published)
            waiting = sum(not chain.done() for chain in self._chains.values())
            ahead = backlog + self.report.published - published + waiting
            self.report.most_ahead = max(self.report.most_ahead, ahead)
            self._room = self.lead - ahead
            if self._room <= 0:
                await asyncio.sleep(0.08)
        self._room -= 1

    async def _spacing(self) -> None:
        """Keep events apart: users do not act in bursts of hundreds, and a burst would be measured as latency."""
        wait_seconds = self._next_at - time.monotonic()
        if wait_seconds > 0:
            await asyncio.sleep(wait_seconds)
        self._next_at = max(time.monotonic(), self._next_at) + 1 / self.most_per_second

    async def _ask(self, event: Event) -> None:
        await self._wait_for_previous(event.user_id or "")
        body = {"user_id": event.user_id, "count": DEPTH, "event_time_ms": event.event_time_ms, "log": False}
        started = time.perf_counter()
        answer = await self._call("POST", "/recommend", json=body)
        self.report.latencies_ms.append(1_000 * (time.perf_counter() - started))
        listed = [item["item_id"] for item in answer["items"]]
        self.report.ranks[event.event_id] = listed.index(event.item_id) + 1 if event.item_id in listed else 0
        self.report.fallbacks += bool(answer.get("fallback"))

    async def _wait_for_previous(self, user: str) -> None:
        previous = self._previous.get(user)
        if previous is None or time.monotonic() - previous[1] > _RECENT_USERS_WAIT:
            return
        started = time.perf_counter()
        answer = await self._call(
            "GET", f"/users/{user}/session", params={"wait_for_event_id": previous[0], "timeout_ms": str(WAIT_MS)}
        )
        self.report.waits_ms.append(1_000 * (time.perf_counter() - started))
        self.report.not_visible += not answer["visible"]

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            async with self._session.request(method, path, **options) as response:
                if response.status != 200:
                    raise HeadwaterError(f"{method} {path} was answered {response.status}: {await response.text()}")
                answer: dict[str, Any] = await response.json()
                return answer
        except aiohttp.ClientError as error:
            raise BrokerError(f"the server does not answer {method} {path}: {error}") from error
