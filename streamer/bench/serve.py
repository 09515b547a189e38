"""``headwater bench serve``: how a server answers at a rate, and where the time goes.

One server process, a large catalogue, open-loop load (:mod:`streamer.bench.open_loop`), and floors from the same run.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from exporters.registry import Registry
from streamer.bench import floors
from streamer.bench.large_catalogue import LargeCatalogue
from streamer.bench.latency import histogram, summary
from streamer.bench.live_system import broker_and_state
from streamer.bench.made_up_users import RESULTS, Mix
from streamer.bench.open_loop import Ask, Outcome, Plan, launch, quiet_share
from streamer.bench.process_time import cpu_seconds, resident_bytes
from streamer.bench.serving_world import WorkersPart, World, describe, prepared, settings_for
from streamer.bench.tables import serve_tables
from streamer.broker import free_port, stop_process

CANDIDATES = 500
WARM_UP = 5.0, 50.0  # seconds, requests a second
_ANSWER_BYTES = 2_500


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What the command line says."""

    items: int = 100_000
    users: int = 5_000
    rates: tuple[float, ...] = (50, 100, 200, 400, 800)
    seconds: float = 60.0
    arrivals: str = "poisson"
    stop_above_ms: float = 100.0
    mix: Mix = Mix()
    broker: str | None = None
    redis_url: str | None = None
    floor_seconds: float = 10.0
    seed: int = 7


def run(options: ServeOptions, console: Console) -> dict[str, Any]:
    """Measure; returns what ``--json`` writes.

    Raises
    ------
    HeadwaterError
        The server or the generator has ended.
    """
    catalogue = LargeCatalogue(items=options.items, group=min(500, options.items), seed=options.seed)
    with broker_and_state(options.broker) as (broker, state, _), contextlib.ExitStack() as stack:
        settings = settings_for(catalogue, broker, state, options.redis_url)
        with console.status(f"preparing {options.items:,} items and {options.users:,} users …"):
            world = stack.enter_context(prepared(settings, catalogue, options.users))
        console.print(f"ready {world.ready_seconds:.1f} s after its start, at port {world.port}")
        found = list(_rates(world, options, console))
        report = {"world": describe(world), "serve": found, "floors": _floors(world, options, console)}
    for table in serve_tables(report):
        console.print(table)
    return report


def _rates(world: World, options: ServeOptions, console: Console) -> Iterator[dict[str, Any]]:
    seconds, rate = WARM_UP
    one_rate(world, options, rate, seconds)
    for rate in options.rates:
        with console.status(f"{rate:g} requests/s for {options.seconds:g} s …"):
            found = one_rate(world, options, rate, options.seconds)
        console.print(
            f"{rate:g}/s: p50 {found.get('p50_ms')} ms, p99 {found.get('p99_ms')} ms, {found['ok']} of {found['sent']}"
        )
        yield found
        if found.get("p99_ms", float("inf")) > options.stop_above_ms:
            return


def one_rate(world: World, options: ServeOptions, rate: float, seconds: float) -> dict[str, Any]:
    """Load the server at a rate; latencies, stages, processor time and memory."""
    due = _plan(world.port, options, rate, seconds, []).due()
    asks = world.users.requests(len(due), options.mix, time.time_ns() // 1_000_000, 1_000 / rate)
    part = WorkersPart(world, asks, due.tolist())
    before = cpu_seconds(world.server.pid)
    outcome = launch(_plan(world.port, options, rate, seconds, asks), part.begin)
    used = cpu_seconds(world.server.pid) - before
    part.join()
    world.server.check()
    return {
        **_figures(rate, outcome),
        "sessions_changed": part.pushed,
        "server_cpu_ms": round(1_000 * used / max(outcome.sent, 1), 3),
        "resident_mb": round(resident_bytes(world.server.pid) / 2**20),
    }


def _plan(port: int, options: ServeOptions, rate: float, seconds: float, asks: list[Ask]) -> Plan:
    return Plan(
        host="127.0.0.1", port=port, requests=asks, rate=rate, seconds=seconds,
        arrivals=options.arrivals, seed=options.seed,
    )  # fmt: skip


def _figures(rate: float, outcome: Outcome) -> dict[str, Any]:
    stages = {name: summary(values) for name, values in sorted(outcome.stages.items())}
    return {
        "rate": rate,
        "sent": outcome.sent,
        "ok": outcome.ok,
        "fallback_share": round(outcome.fallbacks / max(outcome.answered, 1), 5),
        "errors": outcome.errors,
        **summary(outcome.latencies_ms),
        "stages": {name: values["p99_ms"] for name, values in stages.items()},
        "stages_p50": {name: values["p50_ms"] for name, values in stages.items()},
        "paths": {name: summary(values) for name, values in sorted(outcome.paths.items())},
        "candidates": round(float(np.mean(outcome.candidates)), 1) if outcome.candidates else 0,
        "generator_on_time_share": round(quiet_share(outcome), 4),
        "histogram_ms": histogram(outcome.latencies_ms),
    }


def _floors(world: World, options: ServeOptions, console: Console) -> dict[str, Any]:
    registry, name = Registry(world.settings.stores.models_dir), world.settings.learning.name
    user_ids = list(world.users.states)
    with console.status("floors: the parts by themselves …"):
        return {
            **floors.onnx(registry, name, CANDIDATES),
            "store_read": floors.store_read(world.store, user_ids),
            "numpy_brute_force": floors.brute_force(world.catalogue.vectors(), CANDIDATES),
            "http": list(_http_floor(options)),
        }


def _http_floor(options: ServeOptions) -> Iterator[dict[str, Any]]:
    """Put the same load on an empty route: what HTTP alone takes on this machine."""
    port = free_port()
    command = [sys.executable, "-m", "streamer.bench.floor_app", str(port), str(_ANSWER_BYTES)]
    process = subprocess.Popen(command)
    try:
        _until_open(port)
        ask = Ask("POST", "/recommend", b'{"user_id":"u1","count":%d}' % RESULTS)
        for rate in options.rates:
            before = cpu_seconds(process.pid)
            outcome = launch(_plan(port, options, rate, options.floor_seconds, [ask]))
            used = cpu_seconds(process.pid) - before
            cpu_ms = round(1_000 * used / max(outcome.sent, 1), 3)
            yield {"rate": rate, **summary(outcome.latencies_ms), "server_cpu_ms": cpu_ms}
    finally:
        stop_process(process)


def _until_open(port: int, within_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
