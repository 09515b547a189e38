"""The short way to a route answers as FastAPI's own way does."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import Response

from exporters.direct import Direct, ways_of
from exporters.routes import page, rank, recommend, users
from exporters.server import build_app


def test_fixed_paths_have_a_short_way_and_patterns_do_not():
    ways = ways_of([recommend.router, rank.router, users.router, page.router])
    assert {("POST", "/recommend"), ("POST", "/rank")} <= ways.keys()
    assert not any("{" in path for _, path in ways)


def _volatile(document):
    for name in ("impression_id", "timings_ms"):
        document.pop(name, None)
    return document


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/recommend", b'{"user_id": "u", "count": 3, "log": false}'),
        ("POST", "/rank", b'{"user_id": "u", "candidates": ["m1", "m2"], "log": false}'),
        ("POST", "/recommend", b'{"user_id": 3}'),
        ("POST", "/recommend", b"{"),
        ("POST", "/models/rollback", b'{"name": "nobody"}'),
        ("GET", "/recommend", b""),
        ("GET", "/health/live", b""),
        ("GET", "/health/ready", b""),
    ],
)
async def test_both_ways_answer_alike(services, method, path, body, monkeypatch):
    async def ask():
        transport = httpx.ASGITransport(build_app(services), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            response = await client.request(method, path, content=body)
        kept = {
            name: value for name, value in response.headers.items() if name not in ("x-request-id", "content-length")
        }
        return response.status_code, kept, _volatile(response.json())

    short = await ask()
    monkeypatch.setattr("exporters.direct.ways_of", lambda routers: {})
    assert await ask() == short


async def test_other_paths_go_on_inside():
    async def inside(scope, receive, send):
        await Response("inside")(scope, receive, send)

    transport = httpx.ASGITransport(Direct(inside, [recommend.router]))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        assert (await client.get("/recommend")).text == "inside"
        assert (await client.post("/recommend/")).text == "inside"
