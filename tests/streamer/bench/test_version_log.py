from __future__ import annotations

from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web

from exporters.registry import Draft, GraphFile, Registry
from streamer.bench.version_log import Served, VersionLog, waits_ms

EXAMPLES = {
    0: (np.array([0, 1, 2]), np.array([1_000, 1_100, 1_900])),
    3: (np.array([0, 5]), np.array([1_050, 1_500])),
}


def test_an_example_waits_for_the_first_version_that_knows_it() -> None:
    versions = [Served(1_500, {0: 0}), Served(2_000, {0: 1, 3: 4}), Served(2_500, {0: 2, 3: 5})]
    assert sorted(waits_ms(versions, EXAMPLES, 0)) == [500, 600, 900, 950, 1_000]


def test_what_no_version_knows_and_what_came_before_is_left_out() -> None:
    assert sorted(waits_ms([Served(2_000, {0: 1})], EXAMPLES, 1_050)) == [900]
    assert waits_ms([], EXAMPLES, 0).size == 0


def test_after_a_rollback_an_example_is_still_one_that_was_served() -> None:
    versions = [Served(2_000, {0: 2}), Served(3_000, {0: 0})]
    assert sorted(waits_ms(versions, {0: EXAMPLES[0]}, 0)) == [100, 900, 1_000]


async def test_each_version_is_noted_once_with_its_offsets(tmp_path: Path) -> None:
    registry, served = Registry(tmp_path), [""]
    graph = {"rank": GraphFile(content=b"graph", architecture="a", inputs=(), outputs=())}

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"model_version": served[0]})

    app = web.Application()
    app.add_routes([web.get("/health/ready", ready)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        log = VersionLog(session, registry, "student")
        for step in (1, 2):
            draft = Draft(name="student", graphs=graph, step=step, offsets={"0": 10 * step})
            served[0] = registry.publish(draft).version
            await log.look()
            await log.look()
    await runner.cleanup()
    assert [version.offsets for version in log.versions] == [{0: 10}, {0: 20}]
