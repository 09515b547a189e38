"""``headwater bench ingest``: how many events a second a worker catches up with, and the server's door takes.

The floor is the broker's own: how fast the same records are published by a plain producer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from streamer import topics
from streamer.bench.event_load import endless
from streamer.bench.http_client import Client, request
from streamer.bench.latency import summary
from streamer.bench.live_system import broker_and_state
from streamer.bench.process_time import cpu_seconds
from streamer.bench.serving_world import environment, until_ready
from streamer.bench.tables import ingest_table
from streamer.broker import free_port
from streamer.errors import HeadwaterError
from streamer.events import Event, encode
from streamer.processes import Child
from streamer.publishing import Publisher
from streamer.scrape import Scrape
from streamer.settings import Settings
from streamer.sources import open_source

_LOOK_SECONDS = 0.1
_MOST_SECONDS = 600.0
_IN_FLIGHT = 8


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """What the command line says."""

    dataset: str = "simulator"
    events: int = 50_000
    seconds: float = 10.0
    batches: tuple[int, ...] = (1, 100)
    broker: str | None = None


def run(options: IngestOptions, console: Console) -> dict[str, Any]:
    """Measure; returns what ``--json`` writes.

    Raises
    ------
    HeadwaterError
        A process has ended, or the worker has not read everything in ten minutes.
    """
    source = open_source(options.dataset, Settings().data)
    events = list(itertools.islice(endless(source), options.events))
    with broker_and_state(options.broker) as (_, state, settings):
        topics.create_topics(settings)
        with console.status(f"publishing {len(events):,} events …"):
            publish_per_s = _publish(settings, events)
        with console.status("a worker catches up …"):
            worker = _catch_up(settings, state, len(events))
        with console.status("events at the server's door …"):
            door = list(_door(settings, state, events, options))
    report = {"source": source.name, "events": len(events), "publish_per_s": publish_per_s, "worker": worker}
    report["door"] = door
    console.print(ingest_table(report))
    return report


def _publish(settings: Settings, events: list[Event]) -> float:
    started = time.monotonic()
    with Publisher(settings.kafka.bootstrap_servers) as publisher:
        for event in events:
            publisher.send(event)
    return round(len(events) / (time.monotonic() - started), 1)


def _catch_up(settings: Settings, state: Path, events: int) -> dict[str, float]:
    """Start a worker on a full topic; its time runs from the first look at which it had begun."""
    port, started = free_port(), time.monotonic()
    given = environment(settings) | {"HEADWATER_METRICS_PORT": str(port)}
    child = Child(["worker"], given, state / "logs" / "worker.log")
    try:
        done, begun, first = 0, 0.0, 0
        while done < events:
            time.sleep(_LOOK_SECONDS)
            child.check()
            done = _accounted(port)
            if done and not begun:
                begun, first, cpu = time.monotonic(), done, cpu_seconds(child.pid)
            if time.monotonic() - started > _MOST_SECONDS:
                raise HeadwaterError(f"after {_MOST_SECONDS:.0f} s the worker has read {done} of {events} events")
        seconds = max(time.monotonic() - begun, _LOOK_SECONDS)
        counted = max(events - first, 1)
        return {
            "events_per_s": round(counted / seconds, 1),
            "seconds": round(seconds, 2),
            "start_seconds": round(begun - started, 2),
            "cpu_us_per_event": round(1e6 * (cpu_seconds(child.pid) - cpu) / counted, 1),
        }
    finally:
        child.stop()


def _accounted(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = Scrape.parse(answer.read().decode())
    except OSError:  # it is still starting
        return 0
    names = ("events_consumed", "dead_letters", "duplicate_events")
    return int(sum(page.total(f"headwater_{name}_total") for name in names))


def _door(settings: Settings, state: Path, events: list[Event], options: IngestOptions) -> Iterator[dict[str, Any]]:
    port = free_port()
    arguments = ["serve", "--cold", "--port", str(port)]
    server = Child(arguments, environment(settings), state / "logs" / "serve.log")
    try:
        until_ready(server, port)
        for size in options.batches:
            before = cpu_seconds(server.pid)
            found = asyncio.run(_posted(port, _bodies(events, size), options.seconds))
            accepted = size * found.pop("requests")
            cpu_us = 1e6 * (cpu_seconds(server.pid) - before) / max(accepted, 1)
            yield {
                "events_in_a_request": size,
                "events_per_s": round(accepted / found.pop("seconds"), 1),
                "cpu_us_per_event": round(cpu_us, 1),
                **found,
            }
    finally:
        server.stop()


def _bodies(events: list[Event], size: int) -> Iterator[bytes]:
    """Cut events into bodies, again and again; a later round brings duplicates, which cost the door the same."""
    for start in itertools.cycle(range(0, max(len(events) - size, 0) + 1, size)):
        yield b"[" + b",".join(encode(event) for event in events[start : start + size]) + b"]"


async def _posted(port: int, bodies: Iterator[bytes], seconds: float) -> dict[str, Any]:
    """Keep some requests in flight: the question is how many, not how long, so nothing is sent at a time of its own."""
    client, taken_ms = Client("127.0.0.1", port), list[float]()
    started = time.perf_counter()

    async def one_after_another() -> None:
        while time.perf_counter() - started < seconds:
            raw, begun = request("POST", "127.0.0.1", "/events", next(bodies)), time.perf_counter()
            answer = await client.ask(raw)
            if answer.status != 202:
                raise HeadwaterError(f"the door answered {answer.status}: {answer.body[:500]!r}")
            taken_ms.append(1_000 * (time.perf_counter() - begun))

    with contextlib.closing(client):
        await asyncio.gather(*(one_after_another() for _ in range(_IN_FLIGHT)))
    return {"requests": len(taken_ms), "seconds": time.perf_counter() - started, **summary(taken_ms)}
