from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import aiohttp
import numpy as np
from aiohttp import web

from streamer.bench.freshness import Watch, _dense, _rows
from streamer.bench.version_log import Served
from streamer.events import decode
from streamer.scrape import Scrape


class Broker:
    """Takes events like a producer, and shows them to the server of this test after a while."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}

    async def send(self, topic: str, value: bytes, key: bytes) -> None:
        event = decode(value)
        self.sent[event.user_id or ""] = event.event_id


async def test_an_event_is_watched_from_the_moment_it_was_due() -> None:
    broker = Broker()

    async def session(request: web.Request) -> web.Response:
        user = request.match_info["user"]
        assert broker.sent[user] == request.query["wait_for_event_id"]
        await asyncio.sleep(0.05)
        return web.json_response({"visible": len(broker.sent) < 3})  # the third never shows

    app = web.Application()
    app.add_routes([web.get("/users/{user}/session", session)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}") as http:
        watch = Watch(SimpleNamespace(producer=broker, session=http), "i1")
        for number in range(2):
            await watch.begin(number, time.perf_counter() - 1.0)  # due a second ago: that second counts
        await watch.end()
        await watch.begin(3, time.perf_counter())
        await watch.end()
    await runner.cleanup()
    assert watch.published == 3 and watch.never == 1
    assert len(watch.waits_ms) == 2 and min(watch.waits_ms) >= 1_040


def test_examples_that_no_version_knows_show_in_the_served_share() -> None:
    examples = {0: (np.arange(10), np.full(10, 1_000))}
    found = _dense([Served(1_500, {0: 3}), Served(2_500, {0: 7})], examples, 0)
    assert found["served_share"] == 0.8 and found["p50_ms"] == 500 and found["p95_ms"] == 1_500
    assert _dense([], examples, 0)["p95_ms"] is None


def test_rows_come_from_the_histogram_of_the_time_between() -> None:
    def page(below_100_ms: int, below_1_s: int) -> Scrape:
        name = "headwater_weights_freshness_seconds"
        lines = [f"# TYPE {name} histogram"]
        counts = {"0.1": below_100_ms, "1.0": below_1_s, "+Inf": below_1_s}
        lines += [f'{name}_bucket{{le="{bound}"}} {count}' for bound, count in counts.items()]
        return Scrape.parse("\n".join(lines) + "\n")

    assert _rows(page(50, 1_050).since(page(50, 50)))["p50_ms"] == 550  # the fast ones came before
    assert _rows(page(5, 5).since(page(5, 5)))["p50_ms"] is None
