"""The demo waits for what it needs, says what is missing when it does not come, and asks again meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from streamer import demo_system
from streamer.demo_system import Probe, System
from streamer.errors import HeadwaterError
from streamer.settings import Settings


class Page:
    """A process as the demo sees it: ready, with so many partitions after so many looks."""

    def __init__(self, partitions_after: int) -> None:
        self.looks, self.partitions_after = 0, partitions_after

    async def metrics(self, _: web.Request) -> web.Response:
        self.looks += 1
        held = 32 if self.looks > self.partitions_after else 0
        return web.Response(text=f"# TYPE headwater_assigned_partitions gauge\nheadwater_assigned_partitions {held}\n")

    async def foundation(self, _: web.Request) -> web.Response:
        return web.Response(
            text="# TYPE headwater_foundation_users gauge\nheadwater_foundation_users 7\n"
            "# TYPE headwater_published_models_total counter\n"
            'headwater_published_models_total{kind="foundation"} 2\nheadwater_published_models_total{kind="dense"} 9\n'
            "# TYPE headwater_foundation_recall_ratio gauge\n"
            'headwater_foundation_recall_ratio{scorer="model"} 0.25\n'
        )

    async def ready(self, _: web.Request) -> web.Response:
        return web.Response(text="ready")


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[Probe]:
    system = System("127.0.0.1:1", tmp_path, 0, Settings())
    async with aiohttp.ClientSession(system.server) as session:
        yield Probe(system, session)


async def serve(page: Page, *ports: int) -> web.AppRunner:
    app = web.Application()
    app.add_routes([web.get("/metrics", page.metrics), web.get("/health/ready", page.ready)])
    runner = web.AppRunner(app)
    await runner.setup()
    for port in ports:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def ports_of(probe: Probe) -> tuple[int, int]:
    return int(probe.system.server.rsplit(":", 1)[1]), probe.system.ports["worker"]


async def test_it_waits_until_the_worker_reads(probe: Probe) -> None:
    page = Page(partitions_after=2)
    runner = await serve(page, *ports_of(probe))
    try:
        await probe.until_ready()
    finally:
        await runner.cleanup()
    assert page.looks == 3


async def test_a_worker_that_gets_nothing_is_named(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_system, "READY_SECONDS", 0.3)
    runner = await serve(Page(partitions_after=1_000), *ports_of(probe))
    try:
        with pytest.raises(HeadwaterError, match="worker has no partition of the events topic; the logs are in"):
            await probe.until_ready()
    finally:
        await runner.cleanup()


async def test_a_worker_that_does_not_answer_yet_is_asked_again(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_system, "READY_SECONDS", 0.3)
    server, _ = ports_of(probe)
    runner = await serve(Page(partitions_after=0), server)
    try:
        with pytest.raises(HeadwaterError, match="a process does not answer"):
            await probe.until_ready()
    finally:
        await runner.cleanup()


async def test_what_the_foundation_model_has_done_is_read_from_its_metrics(probe: Probe) -> None:
    app = web.Application()
    app.add_routes([web.get("/metrics", Page(0).foundation)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", probe.system.ports["foundation"]).start()
    try:
        found = await probe.foundation()
    finally:
        await runner.cleanup()
    assert found["versions"] == 2 and found["users"] == 7
    assert found["recall@10"] == 0.25 and found["popular_recall@10"] is None


async def test_a_foundation_process_that_is_still_starting_has_done_nothing(probe: Probe) -> None:
    found = await probe.foundation()
    assert found["versions"] == 0 and found["recall@10"] is None
