"""The life of a server process: serving, lame duck, refusing. Readiness turns false before any request is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class Grace:
    """How a server ends.

    Parameters
    ----------
    lame_duck_seconds
        Not ready any more, but everything is answered: time for balancers to see it.
    refuse_seconds
        Once nothing is under way, new requests are still told 503 for so long before the port closes.
    drain_seconds
        Requests under way have so long to finish.
    """

    lame_duck_seconds: float = 2.0
    refuse_seconds: float = 0.5
    drain_seconds: float = 5.0


class Lifecycle:
    """Knows whether requests should come, whether they are taken, and how many are under way."""

    def __init__(self) -> None:
        self.leaving = False
        self.refusing = False
        self.under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def entered(self) -> None:
        """Count a request in."""
        self.under_way += 1
        self._idle.clear()

    def left(self) -> None:
        """Count a request out."""
        self.under_way -= 1
        if self.under_way == 0:
            self._idle.set()

    async def drain(self, grace: Grace) -> int:
        """Go from serving to empty.

        Returns
        -------
        int
            Requests that were still under way when the time was over.
        """
        self.leaving = True
        await asyncio.sleep(grace.lame_duck_seconds)
        self.refusing = True
        try:
            await asyncio.wait_for(self._idle.wait(), grace.drain_seconds)
        except TimeoutError:
            return self.under_way
        await asyncio.sleep(grace.refuse_seconds)  # who has just been answered asks again, and is told to go
        return self.under_way
