"""The load generator against a server that stalls, fails and falls back on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web

from streamer.bench.open_loop import Ask, Generator, Outcome, Plan, launch, quiet_share
from streamer.errors import HeadwaterError


@asynccontextmanager
async def server(handler) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()


def plan(port: int, asks: list[Ask], **more) -> Plan:
    return Plan(
        host="127.0.0.1", port=port, requests=asks, **{"rate": 100, "seconds": 0.5, "arrivals": "constant", **more}
    )


async def test_a_stall_counts_for_every_request_that_was_due_in_it() -> None:
    """The server stops for 300 ms; a closed loop would have counted it once."""
    stalled = asyncio.Event()

    async def handler(request):
        if not stalled.is_set():
            stalled.set()
            until = asyncio.get_running_loop().time() + 0.3
            while asyncio.get_running_loop().time() < until:
                pass  # the whole server stands still, the generator in its own process does not
        return web.json_response({})

    async with server(handler) as port:
        outcome = await asyncio.to_thread(launch, plan(port, [Ask("POST", "/recommend", b"{}")]))
    assert outcome.sent == outcome.ok == 50 and outcome.errors == {}
    slow = np.sort(outcome.latencies_ms)[::-1]
    assert (slow > 100).sum() >= 15  # those of the first 200 ms of the stall
    assert slow[0] >= 290 and len(outcome.late_ms) == 50


async def test_statuses_fallbacks_and_stages_are_told_apart() -> None:
    timings = {"session": 1.0, "rank": 2.0, "total": 4.0}

    async def handler(request):
        if request.path == "/bad":
            return web.json_response({"reason": "no"}, status=422)
        body = {"fallback": request.path == "/late", "candidates": 500, "timings_ms": timings}
        return web.Response(text=json.dumps(body))

    asks = [Ask("POST", "/recommend?x=1"), Ask("POST", "/late"), Ask("GET", "/bad"), Ask("POST", "/recommend")]
    async with server(handler) as port:
        outcome = await Generator(plan(port, asks, rate=40, seconds=0.2)).run()
    assert (outcome.sent, outcome.answered, outcome.fallbacks, outcome.ok) == (8, 6, 2, 4)
    assert outcome.errors == {"422": 2}
    assert {path: len(taken) for path, taken in outcome.paths.items()} == {"/recommend": 4, "/late": 2, "/bad": 2}
    assert outcome.stages["session"] == [1.0] * 4 and outcome.stages["waiting in the server"] == [1.0] * 4
    assert set(outcome.stages) == {"session", "rank", "waiting in the server", "http and queue"}
    assert outcome.candidates == [500] * 4


async def test_a_request_without_an_answer_is_an_error_by_name() -> None:
    async def handler(request):
        await asyncio.sleep(1)

    async with server(handler) as port:
        given = plan(port, [Ask("GET", "/")], rate=20, seconds=0.1, timeout_seconds=0.1)
        outcome = await Generator(given).run()
    assert outcome.errors == {"TimeoutError": 2} and outcome.ok == 0 and outcome.latencies_ms == []


def test_a_late_generator_shows() -> None:
    assert quiet_share(Outcome(late_ms=[0.1, 0.2, 5.0, 0.3])) == 0.75


def test_a_generator_that_fails_says_so() -> None:
    with pytest.raises(HeadwaterError, match="ended with status 1"):
        launch(plan(1, [Ask("GET", "/")], rate=20, seconds=0.1))  # nobody listens on port 1
