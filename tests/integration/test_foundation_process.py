"""``headwater foundation`` as the demo runs it: waits for a log, trains, judges itself, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from streamer.demo_system import Probe, System
from streamer.processes import Child
from streamer.settings import Settings, Stores
from tests.streamer.test_foundation import Log

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WITHIN_SECONDS = 120.0


async def until(probe: Probe, versions: int) -> dict[str, float | None]:
    deadline, found = time.monotonic() + WITHIN_SECONDS, await probe.foundation()
    while found["versions"] < versions:  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{found} after {WITHIN_SECONDS} s"
        await asyncio.sleep(0.3)
        found = await probe.foundation()
    return found


async def test_it_waits_trains_and_says_how_well_it_foresaw(tmp_path: Path) -> None:
    system = System("127.0.0.1:1", tmp_path, 0, Settings())
    environment = {
        "HEADWATER_STORES__STATE_DIR": str(tmp_path / "state"),
        "HEADWATER_METRICS_PORT": str(system.ports["foundation"]),
        "HEADWATER_LEARNING__CATALOG_ROWS": "64",
        "HEADWATER_FOUNDATION__ANNOUNCE": "false",
        "HEADWATER_FOUNDATION__DIMENSION": "16",
        "HEADWATER_FOUNDATION__FIRST_EPOCHS": "3",
        "HEADWATER_FOUNDATION__FIRST_EVENTS": "200",
        "HEADWATER_FOUNDATION__REFRESH_SECONDS": "0.5",
    }
    log = Log(Settings(stores=Stores(state_dir=tmp_path / "state")).stores.event_log_dir)
    log.clicks(users=24, events=5)
    system.children.append(Child(["foundation"], environment, tmp_path / "foundation.log", niceness=19))
    try:
        async with aiohttp.ClientSession(system.server) as session:
            probe = Probe(system, session)
            while not (await probe.scrape_or_nothing("foundation")).samples:
                await asyncio.sleep(0.3)
            assert (await probe.foundation())["versions"] == 0, "120 events are too few"
            log.clicks(users=24, events=5)
            first = await until(probe, 1)
            assert first["users"] == 24 and first["items"] and first["recall@10"] is None
            log.clicks(users=24, events=1)
            second = await until(probe, 2)
            assert second["recall@10"] is not None and second["popular_recall@10"] is not None
    finally:
        system.stop()
    assert system.children[0]._process.returncode == 0, (tmp_path / "foundation.log").read_text()[-2_000:]
