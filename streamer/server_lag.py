"""How far a server is behind its topics, how long the broker has been silent, and whether rows stand still."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from exporters import metrics

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0

Places = Callable[[], Awaitable[Mapping[str, tuple[int, int]]]]


class LagWatch:
    """Asks the broker every two seconds how far the topics go and compares it with what is applied.

    Parameters
    ----------
    places
        Gives (applied, there) by topic, see :meth:`streamer.server_streams.Follower.places`.
    staleness_seconds
        How long the broker may be silent, and a topic with records to apply may stand still.
    clock
        Seconds, monotonic.
    """

    def __init__(self, places: Places, staleness_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._places, self._staleness_seconds, self._clock = places, staleness_seconds, clock
        self._heard = clock()
        self._applied: dict[str, int] = {}
        self._moved: dict[str, float] = {}
        self.lag: dict[str, int] = {}

    @property
    def silence_seconds(self) -> float:
        """Seconds since the broker last answered."""
        return self._clock() - self._heard

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Look once; a broker that does not answer leaves the lag as it was and the silence growing."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                places = await self._places()
        except Exception as error:  # whatever it is, it is no answer, and looking goes on
            _log.debug("no answer of the broker: %r", error)
        else:
            self._heard = self._clock()
            for topic, (applied, there) in places.items():
                self._note(topic, applied, there)
        metrics.BROKER_SILENCE.set(self.silence_seconds)

    def reasons(self) -> list[str]:
        """Say what is wrong, in words; empty while all is well."""
        longest = self._staleness_seconds
        found = []
        if self.silence_seconds > longest:
            found.append(f"The broker has been silent for {self.silence_seconds:.0f} s ({longest:g} s are allowed).")
        now = self._clock()
        for topic, records in self.lag.items():
            still = now - self._moved[topic]
            if records and still > longest:
                found.append(f"{topic} has {records} new records, and none was applied for {still:.0f} s.")
        return found

    def _note(self, topic: str, applied: int, there: int) -> None:
        self.lag[topic] = max(0, there - applied)
        if self.lag[topic] == 0 or applied != self._applied.get(topic):
            self._moved[topic] = self._clock()
        self._applied[topic] = applied
        metrics.FOLLOW_LAG.labels(topic).set(self.lag[topic])
