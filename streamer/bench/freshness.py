"""``headwater bench freshness``: how soon an event shows, while events come at a rate and are learnt.

Three ways, each from the moment an event was published: into the user's session (asked at the server), into a served
row of a table (measured by the server), and into the served dense part (by the offsets that a version knows).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from rich.console import Console

from exporters.registry import Registry
from streamer.bench.latency import summary
from streamer.bench.live_system import Live, broker_and_state, live_system, send
from streamer.bench.process_time import cpu_seconds
from streamer.bench.tables import freshness_table
from streamer.bench.version_log import Examples, Served, VersionLog, read_examples, waits_ms
from streamer.events import Event
from streamer.scrape import Scrape
from streamer.settings import Settings
from streamer.sources import Source, open_source

WATCHED_PER_SECOND = 10.0
_WAIT_MS = 20_000
_KEEPS_UP_SECONDS = 2.0  # of events may lie unlearnt when the load ends
_SLOWER = 0.8


@dataclass(frozen=True, kw_only=True)
class FreshnessOptions:
    """What the command line says."""

    dataset: str = "simulator"
    rate: float = 1_000.0
    seconds: float = 60.0
    warm_seconds: float = 15.0
    tries: int = 3
    broker: str | None = None
    seed: int = 7


def run(options: FreshnessOptions, console: Console) -> dict[str, Any]:
    """Measure at the rate, and where the learner does not keep up, again at rates that it could; a new system each.

    Returns
    -------
    dict
        The first rate's figures; under ``keeps_up`` those of the first rate that was kept up with.
    """
    rate, found = options.rate, list[dict[str, Any]]()
    for _ in range(max(options.tries, 1)):
        found.append(asyncio.run(_measured(options, rate, console)))
        last = found[-1]
        console.print(f"{rate:.0f} events/s: learnt {last['learned_per_s']:.0f}/s, {last['backlog']} left at the end")
        if last["kept_up"]:
            break
        rate = max(_SLOWER * min(last["learned_per_s"], rate), 1.0)
    console.print(freshness_table(found))
    return {**found[0], "keeps_up": next((one for one in found if one["kept_up"]), None), "tries": found}


async def _measured(options: FreshnessOptions, rate: float, console: Console) -> dict[str, Any]:
    source = open_source(options.dataset, Settings().data)
    with broker_and_state(options.broker) as (_, _, settings):
        with console.status(f"starting worker, trainer and server for {rate:.0f} events/s …"):
            async with live_system(settings, source, options.seed) as live:
                return await _under_load(options, rate, settings, live, source)


async def _under_load(
    options: FreshnessOptions, rate: float, settings: Settings, live: Live, source: Source
) -> dict[str, Any]:
    registry = Registry(settings.stores.models_dir)
    log = VersionLog(live.session, registry, settings.learning.name)
    following = asyncio.create_task(log.follow())
    watch = Watch(live, next(source.events()).item_id or next(source.items()).item_id or "")
    await live.load.run(rate, options.warm_seconds)
    before, from_ms, cpu_before = await _scrapes(live), time.time() * 1_000, _cpu(live)
    published_before, started = live.load.published, time.monotonic()
    await live.load.run(rate, options.seconds, watch.begin, every=max(round(rate / WATCHED_PER_SECOND), 1))
    await live.producer.flush()
    seconds, cpu_after = time.monotonic() - started, _cpu(live)
    after = await _scrapes(live)
    backlog = await live.probe.backlog(live.load.published + watch.published)
    await watch.end()
    await asyncio.sleep(2 * settings.learning.publish_dense_seconds)  # the last examples' version
    following.cancel()
    learned = after["train"].since(before["train"]).total("headwater_examples_learned_total")
    examples = await asyncio.to_thread(read_examples, settings.kafka.bootstrap_servers)
    return {
        "events_per_s": round((live.load.published - published_before) / seconds, 1),
        "session": _figures(watch.waits_ms) | {"watched": len(watch.waits_ms), "never": watch.never},
        "rows": _rows(after["serve"].since(before["serve"])),
        "dense": _dense(log.versions, examples, from_ms),
        "rate": rate,
        "learned_per_s": round(learned / seconds, 1),
        "backlog": max(backlog, 0),
        "kept_up": backlog <= _KEEPS_UP_SECONDS * rate,
        "cores": {name: round((used - cpu_before[name]) / seconds, 3) for name, used in cpu_after.items()},
        "publisher_late_p99_ms": summary(live.load.late_ms).get("p99_ms"),
        "source": source.name,
        "seconds": round(seconds, 1),
    }


class Watch:
    """Publishes events of users of their own and asks the server until they show.

    A user who acts once is asked for an event that no later one can hide. The event is published with the load, and its
    time runs from the moment it was due.

    Parameters
    ----------
    live
        The system.
    item_id
        What the watched users view.
    """

    def __init__(self, live: Live, item_id: str) -> None:
        self._live, self._item_id = live, item_id
        self._under_way: list[asyncio.Task[None]] = []
        self.waits_ms: list[float] = []
        self.published = self.never = 0

    async def begin(self, number: int, due: float) -> None:
        """Publish a watched event that was due at ``due`` and look for it beside."""
        now_ms = time.time_ns() // 1_000_000
        event = Event(
            event_id=f"watched-{now_ms}-{number}", type="interaction", user_id=f"watched-{now_ms}-{number}",
            item_id=self._item_id, action="view", event_time_ms=now_ms,
        )  # fmt: skip
        await send(self._live.producer, event)
        self.published += 1
        self._under_way.append(asyncio.create_task(self._until_visible(event, due)))

    async def end(self) -> None:
        """Wait for those under way."""
        await asyncio.gather(*self._under_way)

    async def _until_visible(self, event: Event, due: float) -> None:
        params = {"wait_for_event_id": event.event_id, "timeout_ms": str(_WAIT_MS)}
        try:
            async with self._live.session.get(f"/users/{event.user_id}/session", params=params) as response:
                visible = (await response.json(content_type=None)).get("visible", False)
        except aiohttp.ClientError:
            visible = False
        if visible:
            self.waits_ms.append(1_000 * (time.perf_counter() - due))
        else:
            self.never += 1


def _cpu(live: Live) -> dict[str, float]:
    return {child.name: cpu_seconds(child.pid) for child in live.system.children}


async def _scrapes(live: Live) -> dict[str, Scrape]:
    return {name: await live.probe.scrape(name) for name in ("worker", "train", "serve")}


def _figures(values: Any) -> dict[str, float | None]:
    found = summary(values, digits=1)
    ordered = sorted(values)
    p95 = round(float(ordered[max(int(0.95 * len(ordered) + 0.999) - 1, 0)]), 1) if ordered else None
    return {"p50_ms": found.get("p50_ms"), "p95_ms": p95, "p99_ms": found.get("p99_ms")}


def _dense(versions: list[Served], examples: Examples, from_ms: float) -> dict[str, float | None]:
    waits = waits_ms(versions, examples, from_ms)
    given = sum(int((published_ms >= from_ms).sum()) for _, published_ms in examples.values())
    # Where the learner does not keep up, the examples that no version knows yet are the slowest ones.
    return _figures(waits) | {"versions": len(versions), "served_share": round(len(waits) / max(given, 1), 4)}


def _rows(serve: Scrape) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
        seconds = serve.quantile("headwater_weights_freshness_seconds", share)
        found[name] = None if seconds is None else round(1_000 * seconds, 1)
    return found
