from __future__ import annotations

import itertools

import msgspec
import pytest
from aiohttp import web

from streamer.bench.ingest import _bodies, _posted
from streamer.errors import HeadwaterError
from streamer.events import Event


def events(count: int) -> list[Event]:
    return [
        Event(event_id=f"e{n}", type="interaction", user_id="u", item_id="i", action="view", event_time_ms=10**12)
        for n in range(count)
    ]


def test_bodies_hold_whole_batches_and_start_over() -> None:
    read = [msgspec.json.decode(body) for body in itertools.islice(_bodies(events(7), 3), 3)]
    assert [[event["event_id"] for event in body] for body in read] == [
        ["e0", "e1", "e2"],
        ["e3", "e4", "e5"],
        ["e0", "e1", "e2"],
    ]


@pytest.mark.parametrize("status", [202, 503])
async def test_requests_are_counted_and_a_refusal_ends_the_run(status: int) -> None:
    async def take(request: web.Request) -> web.Response:
        assert len(await request.json()) == 2
        return web.json_response({"reason": "broker_unavailable"}, status=status)

    app = web.Application()
    app.add_routes([web.post("/events", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    if status == 202:
        found = await _posted(port, _bodies(events(4), 2), 0.2)
        assert found["requests"] > 5 and found["seconds"] >= 0.2 and found["p50_ms"] <= found["p99_ms"]
    else:
        with pytest.raises(HeadwaterError, match="503.*broker_unavailable"):
            await _posted(port, _bodies(events(4), 2), 0.2)
    await runner.cleanup()
