"""Every panel's query and every alert, at a real Prometheus that scrapes the running processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import aiohttp
import httpx
import pytest

from streamer.broker import embedded_broker
from streamer.demo_system import WITH_METRICS, Probe, System
from streamer.errors import BrokerError
from streamer.events import Event
from streamer.publishing import Publisher, publish_all
from streamer.settings import Kafka, Settings
from streamer.sources.simulator import SimulatorSource

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
JOBS = {"worker": "worker", "train": "trainer", "teach": "teacher", "labels": "labels", "foundation": "foundation"}
EVENTS = 400
WITHIN_SECONDS = 180


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """All processes beside an embedded broker."""
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", "")  # the system sets it; the old value comes back
    monkeypatch.setenv("HEADWATER_METRICS_PORT", "0")
    try:
        with embedded_broker() as broker:
            settings = Settings(kafka=Kafka(bootstrap_servers=broker.bootstrap_servers, partitions=2))
            system = System(broker.bootstrap_servers, tmp_path / "state", 0, settings)
            try:
                system.start()
                yield system
            finally:
                system.stop()
    except BrokerError as error:
        pytest.skip(str(error))


@pytest.fixture
def prometheus(running: System, start_prometheus: Callable[[dict[str, str]], str]) -> Iterator[httpx.Client]:
    """Prometheus that scrapes the processes under the names of deploy/prometheus.yml."""
    targets = {JOBS[name]: f"127.0.0.1:{running.ports[name]}" for name in WITH_METRICS}
    targets["server"] = running.server.removeprefix("http://")
    with httpx.Client(base_url=start_prometheus(targets), timeout=15) as client:
        yield client


def test_every_panel_has_data_and_every_alert_is_evaluated(
    running: System, prometheus: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from deploy.dashboards.live import alert_rows, panel_rows, queries

    asyncio.run(until_ready(running))
    source = SimulatorSource(limit=100 * EVENTS)
    events = source.events()
    users = publish(running, [*source.items(), *islice(events, EVENTS)])
    until = time.monotonic() + WITHIN_SECONDS
    rows = []
    while time.monotonic() < until:
        running.check()
        for user_id in users[:3]:
            httpx.post(f"{running.server}/recommend", json={"user_id": user_id, "deadline_ms": 5_000}, timeout=15)
        rows = panel_rows(prometheus) + alert_rows(prometheus)
        if all(row.alive for row in rows):
            break
        publish(running, list(islice(events, 20)))  # rates need more than one moment
        time.sleep(1)
    print("", *rows, sep="\n")
    assert len(rows) > len(queries()), "the alerts are among them"
    assert [row for row in rows if not row.alive] == []


async def until_ready(system: System) -> None:
    async with aiohttp.ClientSession(system.server) as session:
        await Probe(system, session).until_ready()


def publish(system: System, events: list[Event]) -> list[str]:
    """Publish events; returns their users."""
    with Publisher(system.broker) as publisher:
        publish_all(publisher, events)
    return list(dict.fromkeys(event.user_id for event in events if event.user_id))
