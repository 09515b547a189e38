"""The whole loop on one machine: all processes, and a data set that plays its users.

Everything is the real thing in its own process; only the sizes are those of a laptop (an embedded broker in memory,
Feast on SQLite).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streamer.baselines import Taken, measure
from streamer.broker import embedded_broker
from streamer.demo_system import Probe, System
from streamer.door import Door, DoorReport
from streamer.errors import SourceError
from streamer.events import Event, encode
from streamer.publishing import route
from streamer.scrape import Scrape
from streamer.settings import Settings
from streamer.sources import Source, open_source

DEFAULT_DATASET = "ml-100k"
SIMULATED_EVENTS = 20_000
# A fetch costs the embedded broker time in proportion to the record batches of its partition (0.7 ms per thousand):
# with 4 partitions it needs a whole core after 100,000 events, with 32 they stay short.
EMBEDDED_PARTITIONS = 32


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What the command line says."""

    dataset: str | None = None
    events: int | None = None
    speed: float = 0.0
    once: bool = False
    report: Path | None = None
    ask_share: float = 0.1
    lead: int = 256
    rate: float = 150.0
    port: int = 8_080
    state: Path | None = None
    broker: str | None = None
    twin: bool = False
    seed: int = 7


def choose_source(options: DemoOptions, data: Path | None, console: Console) -> Source:
    """Open the data set asked for; without one, ml-100k where it is at hand, and else the simulator, saying so."""
    if options.dataset is not None:
        return open_source(options.dataset, data, options.events)
    try:
        return open_source(DEFAULT_DATASET, data, options.events)
    except SourceError as error:
        console.print(f"[yellow]No data set at hand ({error}).[/]")
        console.print(
            "[yellow]The events are simulated: the figures say how the loop works, not how good the lists are.[/]"
        )
        return open_source("simulator", None, options.events or SIMULATED_EVENTS)


def run(options: DemoOptions, settings: Settings, console: Console) -> dict[str, Any]:
    """Run the demo; returns what ``--json`` writes."""
    # A SIGTERM unwinds like Ctrl-C, so that no child outlives the demo.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    source = choose_source(options, settings.data, console)
    console.print(f"[bold]{source.name}[/]: {source.description}")
    with contextlib.ExitStack() as stack:
        state = options.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-")))
        state.mkdir(parents=True, exist_ok=True)
        broker = options.broker
        if broker is None:
            broker = stack.enter_context(embedded_broker()).bootstrap_servers
            settings = settings.model_copy(deep=True)
            settings.kafka.partitions = EMBEDDED_PARTITIONS
        system = System(broker, state, options.port, settings, twin=options.twin)
        stack.callback(system.stop)
        system.start()
        console.print(f"broker {broker}, state and logs in {state}")
        report = asyncio.run(_drive(system, source, options, console))
    report["source"] = {"name": source.name, "simulated": source.simulated, "events": report["events_published"]}
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=2) + "\n")
    return report


async def _drive(system: System, source: Source, options: DemoOptions, console: Console) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(system.server, timeout=timeout) as session, _producer(system.broker) as producer:
        probe = Probe(system, session)
        with console.status("starting worker, trainer and server …"):
            await _publish_items(producer, source)
            await probe.until_ready()
        console.print(f"live page: [bold]{system.server}[/]   API: {system.server}/docs")
        events = [event for event in source.events()]
        door = Door(
            producer,
            session,
            probe.backlog,
            share=options.ask_share,
            lead=options.lead,
            most_per_second=options.rate,
            seed=options.seed,
        )
        asked = {n for n in door.sample(len(events)) if events[n].type == "interaction"}
        started = time.monotonic()
        with _progress(console) as progress:
            task = progress.add_task("events", total=len(events))
            pace = _Pace(options.speed)
            tell = _Teller(console, len(events))

            def on_event() -> None:
                progress.advance(task)
                tell()

            await _first_of(door.run(events, asked, pace, on_event), probe.watch())
            seconds = time.monotonic() - started
            await probe.until_learned(door.report.published)
            await probe.until_labelled()
        report = await _report(probe, door, events, seconds, console)
        _show(report, console)
        if not options.once:
            console.print(f"All events are in. {system.server} goes on serving; Ctrl-C ends it.")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return report


async def _first_of(work: Coroutine[Any, Any, None], watch: Coroutine[Any, Any, None]) -> None:
    """Do the work; end with the watch's error as soon as it raises one."""
    tasks = [asyncio.create_task(work), asyncio.create_task(watch)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Teller:
    """Says every tenth of the way how far it is, where no progress bar can be drawn."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0
        self._started = time.monotonic()

    def __call__(self) -> None:
        self._done += 1
        if not self._console.is_terminal and self._done % max(self._total // 10, 1) == 0:
            rate = self._done / max(time.monotonic() - self._started, 1e-9)
            self._console.print(f"{self._done} of {self._total} events, {rate:.0f} events/s")


class _Pace:
    """Event time passes ``speed`` times as fast as the clock; 0 never waits."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start: tuple[float, int] | None = None

    async def __call__(self, event: Event) -> None:
        if self._speed <= 0:
            return
        self._start = self._start or (time.monotonic(), event.event_time_ms)
        due = self._start[0] + (event.event_time_ms - self._start[1]) / 1_000 / self._speed
        await asyncio.sleep(max(due - time.monotonic(), 0))


async def _publish_items(producer: AIOKafkaProducer, source: Source) -> None:
    for item in source.items():
        topic, key = route(item)
        await producer.send(topic.name, encode(item), key=key)
    await producer.flush()


async def _report(probe: Probe, door: Door, events: list[Event], seconds: float, console: Console) -> dict[str, Any]:
    worker, trainer, server = [await probe.scrape(name) for name in ("worker", "train", "serve")]
    counted = door.report
    return {
        "events_published": counted.published,
        "events_consumed": int(worker.total("headwater_events_consumed_total")),
        "events_learned": int(trainer.total("headwater_examples_learned_total")),
        "duplicates": int(worker.total("headwater_duplicate_events_total")),
        "late": int(worker.total("headwater_late_events_total")),
        "dead_letter": int(worker.total("headwater_dead_letters_total")),
        "seconds": round(seconds, 1),
        "events_per_second": round(counted.published / max(seconds, 1e-9), 1),
        "prequential": {
            **counted.quality(),
            **await asyncio.to_thread(_baselines, events, counted, console),
            "asked": len(counted.ranks),
            "most_events_ahead_of_learner": counted.most_ahead,
            "previous_event_not_visible": counted.not_visible,
            "fallbacks": counted.fallbacks,
        },
        "freshness_ms": {
            "session_p50": _ms(worker, "headwater_session_visible_seconds", 0.5),
            "session_p95": _ms(worker, "headwater_session_visible_seconds", 0.95),
            "weights_p50": _ms(server, "headwater_weights_freshness_seconds", 0.5),
            "weights_p95": _ms(server, "headwater_weights_freshness_seconds", 0.95),
        },
        "serving_ms": _latency(counted),
        "published_models": int(trainer.total("headwater_published_models_total")),
        "parity_max_abs": probe.parity_max_abs,
        "soft_labels": await probe.soft_labels(),
        "foundation": await probe.foundation(),
    }


def _baselines(events: list[Event], report: DoorReport, console: Console) -> dict[str, float]:
    taken = [
        Taken(event.user_id or "", event.item_id or "", event.event_time_ms / 1_000, event.event_id in report.ranks)
        for event in events
        if event.type == "interaction"
    ]
    with _progress(console) as progress:
        task = progress.add_task("baselines on the same sample", total=len(taken))
        return measure(taken, progress=lambda done: progress.update(task, completed=done))


def _latency(report: DoorReport) -> dict[str, Any]:
    latencies = np.array(report.latencies_ms or [0.0])
    p50, p99 = np.percentile(latencies, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "requests": len(report.latencies_ms)}


def _ms(scrape: Scrape, histogram: str, q: float) -> float | None:
    seconds = scrape.quantile(histogram, q)
    return None if seconds is None else round(1_000 * seconds, 1)


def _show(report: dict[str, Any], console: Console) -> None:
    quality, fresh, serving = report["prequential"], report["freshness_ms"], report["serving_ms"]
    console.print(
        f"{report['events_published']} events published, {report['events_consumed']} consumed,"
        f" {report['events_learned']} learnt, {report['dead_letter']} dead letters, {report['late']} late,"
        f" {report['published_models']} versions, parity {report['parity_max_abs']:.1e}"
    )
    console.print(
        f"HR@10 at the door {quality['hr@10']:.4f} ({quality['asked']} asks): item-kNN"
        f" {quality.get('item_knn_hr@10', 0):.4f}, popular 7 days {quality.get('popular_7d_hr@10', 0):.4f},"
        f" BiasedMF {quality.get('river_hr@10', 0):.4f}"
    )
    console.print(
        f"freshness p95: session {fresh['session_p95']} ms, weights {fresh['weights_p95']} ms;"
        f" serving p50 {serving['p50']} ms, p99 {serving['p99']} ms"
    )
    soft = report["soft_labels"]
    beside = soft["hard_only_hr@10"]
    console.print(
        f"teacher: {soft['written']} soft labels, {soft['teacher_version']} versions, coverage"
        f" {soft['coverage'] or 0:.3f}, learnt {soft['age_p95_s'] or 0:.1f} s after their event (p95); HR@10 among its"
        f" candidates: student {soft['student_hr@10'] or 0:.4f}"
        + (f", its twin without soft labels {beside:.4f}" if beside is not None else "")
    )
    long_term = report["foundation"]
    recall = long_term["recall@10"]
    console.print(
        f"foundation model: {long_term['versions']} versions, {long_term['users']} users, {long_term['items']} items, "
        + (
            "not judged before a second refresh"
            if recall is None
            else f"recall@10 of events it had not learnt {recall:.4f} (popular {long_term['popular_recall@10']:.4f})"
        )
    )


@contextlib.asynccontextmanager
async def _producer(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", linger_ms=1)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress
