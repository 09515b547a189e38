"""A simulator of users, for a machine without data: it is made up, and every source made of it says so.

Users arrive with the rhythm of the day and begin sessions. A session has an intent (a category drawn from the user's
taste); its lists show mostly items of that category and what is related to the last click; whether an item is clicked
depends on taste, quality and recency, and on whether its position was looked at at all:

.. math:: P(click) = examined(position) · σ(match + quality + freshness + related − threshold)

Tastes wander slowly; every ``drift_every_days`` a share of the users changes them at once, and the items that are in
fashion change too. New items are published all the time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from streamer.events import Event
from streamer.sources.base import CatalogueEntry, item_event
from streamer.sources.simulated_world import DAY_MS, Session, World, WorldConfig

_EVENTS_PER_SESSION = 6.0  # an estimate from below, so that new items are there to the end of the stream


@dataclass(frozen=True)
class SimulatorSource:
    """Endless in principle; ``limit`` events are given, each the same for the same ``config`` (its seed).

    Examples
    --------
    >>> source = SimulatorSource(limit=100)
    >>> events = list(source.events())
    >>> len(events), events == list(source.events()), source.simulated
    (100, True, True)
    """

    config: WorldConfig = WorldConfig()
    limit: int = 100_000
    name: str = "simulator"
    description: str = "SIMULATED users and items: changing tastes, sessions with an intent, position bias, drifts"
    simulated: bool = True

    @property
    def event_count(self) -> int:
        """The limit."""
        return self.limit

    def items(self) -> Iterator[Event]:
        """Give the catalogue: some items are there from the start, others are published while the stream runs."""
        world = self._world
        for index, published_ms in enumerate(world.published_ms):
            entry = CatalogueEntry(
                item_id=f"i{index}",
                title=world.title_of(index),
                categories=[world.category_name(index)],
                price=float(world.price[index]),
                published_time_ms=int(published_ms),
            )
            yield item_event(self.name, entry, max(int(published_ms), self.config.start_ms))

    def events(self) -> Iterator[Event]:
        """Impressions and interactions in order of time."""
        return islice(self._every_event(), self.limit)

    @cached_property
    def _world(self) -> World:
        return World(self.config, days=self._days)

    @property
    def _days(self) -> float:
        return max(1.0, self.limit / _EVENTS_PER_SESSION / self.config.sessions_per_day)

    def _every_event(self) -> Iterator[Event]:
        world = World(self.config, days=self._days)
        random = np.random.default_rng([self.config.seed, 1])
        now_ms = float(self.config.start_ms)
        waiting: list[tuple[int, int, Event]] = []
        number = 0
        for session_number in range(2**62):
            now_ms += float(random.exponential(DAY_MS / self.config.sessions_per_day / _rhythm(now_ms)))
            while waiting and waiting[0][0] <= now_ms:
                yield heapq.heappop(waiting)[2]
            for event in Session(world, random, f"{self.name}:{session_number}", int(now_ms)).events():
                number += 1
                heapq.heappush(waiting, (event.event_time_ms, number, event))


def _rhythm(time_ms: float) -> float:
    """Share of the mean rate at this time of day: quiet at four in the morning, busy at four in the afternoon."""
    return 1.0 - 0.8 * float(np.cos((time_ms / DAY_MS - 4 / 24) * 2 * np.pi))
