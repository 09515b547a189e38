"""``headwater bench recovery``: seconds from a SIGKILL under load, with a start at once, until the same state serves.

* server: until it gives a list of its ranker again, at no older version than before, from the same session;
* worker: until an event published at the kill shows in its user's session;
* trainer: until an item first seen at the kill has a row in the server's tables.

The last two are also measured without a kill in the same run: what lies above that is the recovery.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from rich.console import Console

from streamer.bench.live_system import Live, broker_and_state, live_system, send
from streamer.bench.tables import recovery_table
from streamer.errors import HeadwaterError
from streamer.events import Event
from streamer.settings import Settings
from streamer.sources import open_source

_LOOK_SECONDS = 0.02
_MOST_SECONDS = 180.0
_SETTLE_SECONDS = 12.0  # a snapshot and a version come before the first kill

Reached = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class RecoveryOptions:
    """What the command line says."""

    dataset: str = "simulator"
    rate: float = 100.0
    processes: tuple[str, ...] = ("serve", "worker", "train")
    broker: str | None = None
    seed: int = 7


def run(options: RecoveryOptions, console: Console) -> dict[str, Any]:
    """Measure; returns what ``--json`` writes.

    Raises
    ------
    HeadwaterError
        A process has ended by itself, or the state does not come back in three minutes.
    """
    source = open_source(options.dataset, Settings().data)
    with broker_and_state(options.broker) as (_, _, settings):
        found = asyncio.run(_measured(options, settings, source, console))
    report = {"rate": options.rate, "source": source.name, "processes": found}
    console.print(recovery_table(report))
    return report


async def _measured(options: RecoveryOptions, settings: Settings, source: Any, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with console.status("starting worker, trainer and server …") as status:
        async with live_system(settings, source, options.seed) as live:
            load = asyncio.create_task(live.load.run(options.rate, 1e4))
            try:
                await asyncio.sleep(_SETTLE_SECONDS)
                for name in options.processes:
                    status.update(f"kill -9 of headwater {name} …")
                    found[name] = await Kill(live, name).measured()
                    console.print(f"{name}: {found[name]['recovered_s']} s, without a kill {found[name]['usual_s']} s")
                    await asyncio.sleep(_SETTLE_SECONDS / 2)
            finally:
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
    return found


class Kill:
    """One kill and what follows.

    Parameters
    ----------
    live
        The system under load.
    name
        "serve", "worker" or "train".
    """

    def __init__(self, live: Live, name: str) -> None:
        self._live, self._name = live, name
        self._asked = 0

    async def measured(self) -> dict[str, float]:
        """Measure without a kill, then with one; seconds."""
        usual = await self._seconds_until(await self._goal())
        goal = await self._goal() if self._name == "serve" else None  # what must come back is known before
        child = self._live.child(self._name)
        child.kill()
        started = time.monotonic()
        child.restart()
        goal = goal or await self._goal()
        recovered = await self._seconds_until(goal, started)
        return {"usual_s": round(usual, 3), "recovered_s": round(recovered, 3)}

    async def _goal(self) -> Reached:
        """Do what the goal is about (publish an event, look what serves) and say how to see that it is reached."""
        now_ms = time.time_ns() // 1_000_000
        self._asked += 1
        mark = f"{self._name}-{now_ms}-{self._asked}"
        event = Event(
            event_id=mark, type="interaction", user_id=f"user-{mark}", item_id=f"item-{mark}", action="view",
            event_time_ms=now_ms,
        )  # fmt: skip
        await send(self._live.producer, event)
        self._live.load.published += 1
        if self._name == "train":
            return lambda: self._has(f"/items/item-{mark}", "has_vector", True)
        if self._name == "worker":
            return lambda: self._has(f"/users/user-{mark}/session", "last_event_id", mark)
        await self._seconds_until(lambda: self._has(f"/users/user-{mark}/session", "last_event_id", mark))
        version = (await self._list(f"user-{mark}"))["model_version"]
        return lambda: self._serves(f"user-{mark}", mark, version)

    async def _serves(self, user_id: str, event_id: str, version: str) -> bool:
        answer = await self._list(user_id)
        good = not answer["fallback"] and answer["items"] and answer["model_version"] >= version
        return bool(good) and await self._has(f"/users/{user_id}/session", "last_event_id", event_id)

    async def _list(self, user_id: str) -> dict[str, Any]:
        body = {"user_id": user_id, "log": False}
        async with self._live.session.post("/recommend", json=body) as response:
            response.raise_for_status()
            answer: dict[str, Any] = await response.json(content_type=None)
            return answer

    async def _has(self, path: str, field: str, wanted: object) -> bool:
        async with self._live.session.get(path) as response:
            return response.status == 200 and (await response.json(content_type=None)).get(field) == wanted

    async def _seconds_until(self, reached: Reached, started: float | None = None) -> float:
        started = time.monotonic() if started is None else started
        while time.monotonic() - started < _MOST_SECONDS:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, KeyError):
                if await reached():
                    return time.monotonic() - started
            self._live.system.check()
            await asyncio.sleep(_LOOK_SECONDS)
        raise HeadwaterError(f"after {_MOST_SECONDS:.0f} s the state of headwater {self._name} has not come back")
