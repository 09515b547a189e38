"""Kills against a small system that loses its state and gets it back: what counts as the same state."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from streamer.bench.live_system import Live
from streamer.bench.recovery import Kill
from streamer.events import decode


class SmallSystem:
    """Answers as a server does; a restart takes a while, and then serves an old version, then the new one."""

    def __init__(self, name: str) -> None:
        self.name, self.events = name, {}
        self.back_at = self.caught_up_at = 0.0

    def kill(self) -> None:
        self.back_at = self.caught_up_at = float("inf")

    def restart(self) -> None:
        self.back_at = time.monotonic() + 0.1
        self.caught_up_at = time.monotonic() + 0.3

    def check(self) -> None:
        pass

    async def send(self, topic: str, value: bytes, key: bytes) -> None:
        event = decode(value)
        self.events[event.user_id] = event

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/recommend", self.recommend),
            web.get("/users/{id}/session", self.session),
            web.get("/items/{id}", self.item),
        ]

    def _answers(self) -> None:
        if time.monotonic() < self.back_at:
            raise web.HTTPServiceUnavailable

    async def recommend(self, _: web.Request) -> web.Response:
        self._answers()
        late = time.monotonic() >= self.caught_up_at
        return web.json_response({"fallback": False, "items": [1], "model_version": "000002-b" if late else "000001-a"})

    async def session(self, request: web.Request) -> web.Response:
        self._answers()
        event = self.events.get(request.match_info["id"])
        shown = event is not None and time.monotonic() >= self.caught_up_at
        return web.json_response({"last_event_id": event.event_id if shown else None})

    async def item(self, request: web.Request) -> web.Response:
        known = {event.item_id for event in self.events.values()}
        if request.match_info["id"] not in known or time.monotonic() < self.caught_up_at:
            return web.json_response({"reason": "unknown_item"}, status=404)
        return web.json_response({"has_vector": True})


@pytest.fixture(params=["serve", "worker", "train"])
async def live(request: pytest.FixtureRequest) -> AsyncIterator[Live]:
    small = SmallSystem(request.param)
    app = web.Application()
    app.add_routes(small.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    system = SimpleNamespace(children=[small], check=small.check)
    async with aiohttp.ClientSession(address) as session:
        yield Live(system=system, probe=None, session=session, producer=small, load=SimpleNamespace(published=0))
    await runner.cleanup()


async def test_the_clock_runs_until_the_state_is_back_and_not_only_the_process(live: Live) -> None:
    name = live.system.children[0].name
    found = await Kill(live, name).measured()
    assert found["recovered_s"] >= 0.3 > found["usual_s"]
    assert live.load.published == 2  # one event without the kill, one with it


async def test_a_state_that_does_not_come_back_is_an_error(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamer.bench import recovery
    from streamer.errors import HeadwaterError

    small = live.system.children[0]
    monkeypatch.setattr(recovery, "_MOST_SECONDS", 0.4)
    monkeypatch.setattr(small, "restart", lambda: None)
    with pytest.raises(HeadwaterError, match=f"headwater {small.name} has not come back"):
        await Kill(live, small.name).measured()
