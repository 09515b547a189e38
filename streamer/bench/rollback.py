"""``headwater bench rollback``: a rollback and its release under load: how soon they serve, and what lists notice.

A server with a large catalogue and two versions of it is asked open loop, as by ``headwater bench serve``. After a
third of the time the first version is rolled back to, with its tables; after two thirds that is released. Lists
should not notice: a version is made ready beside the one that serves.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from exporters.registry import Registry
from streamer import rollbacks
from streamer.bench.large_catalogue import LargeCatalogue, publish
from streamer.bench.live_system import broker_and_state
from streamer.bench.serve import WARM_UP, ServeOptions, one_rate
from streamer.bench.serving_world import World, describe, prepared, settings_for
from streamer.bench.tables import rollback_table
from streamer.errors import HeadwaterError

_LOOK_SECONDS = 0.1
_MOST_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class RollbackOptions:
    """What the command line says."""

    items: int = 100_000
    users: int = 2_000
    rate: float = 50.0
    seconds: float = 30.0
    broker: str | None = None
    seed: int = 7


def run(options: RollbackOptions, console: Console) -> dict[str, Any]:
    """Measure; returns what ``--json`` writes.

    Raises
    ------
    HeadwaterError
        The server or the generator has ended, or a version does not serve within a minute.
    """
    catalogue = LargeCatalogue(items=options.items, group=min(500, options.items), seed=options.seed)
    load = ServeOptions(items=options.items, users=options.users, seed=options.seed)
    with broker_and_state(options.broker) as (broker, state, _), contextlib.ExitStack() as stack:
        settings = settings_for(catalogue, broker, state, None)
        with console.status(f"preparing two versions of {options.items:,} items and {options.users:,} users …"):
            publish(catalogue, settings)
            world = stack.enter_context(prepared(settings, catalogue, options.users))
        seconds, rate = WARM_UP
        one_rate(world, load, rate, seconds)
        with console.status(f"{options.rate:g} requests/s for {options.seconds:g} s as usual …"):
            usual = one_rate(world, load, options.rate, options.seconds)
        moves = Moves(world, options.seconds / 3)
        moves.start()
        with console.status(f"{options.rate:g} requests/s for {options.seconds:g} s, with a rollback …"):
            moved = one_rate(world, load, options.rate, options.seconds)
        report = {"world": describe(world), "serves_after_s": moves.ended(), "usual": usual, "moved": moved}
    console.print(rollback_table(report))
    return report


class Moves(threading.Thread):
    """Rolls a model back to its first version after a pause, and releases it after another.

    Parameters
    ----------
    world
        A server, and its registry.
    pause_seconds
        Before each of the two.
    """

    def __init__(self, world: World, pause_seconds: float) -> None:
        super().__init__(name="rollback", daemon=True)
        self._world, self._pause_seconds = world, pause_seconds
        self._found: dict[str, float] = {}
        self._error: Exception | None = None

    def run(self) -> None:
        """Move twice."""
        settings, name = self._world.settings, self._world.settings.learning.name
        try:
            first, *_, newest = Registry(settings.stores.models_dir).versions(name)
            time.sleep(self._pause_seconds)
            started = time.monotonic()
            rollbacks.roll_back(settings, name, first, "measured")
            self._found["rolled_back"] = self._serves(first, started)
            time.sleep(self._pause_seconds)
            started = time.monotonic()
            rollbacks.release(settings, name)
            self._found["released"] = self._serves(newest, started)
        except Exception as error:
            self._error = error

    def ended(self) -> dict[str, float]:
        """Seconds from each call until its version served.

        Raises
        ------
        HeadwaterError
            One of them did not serve.
        """
        self.join()
        if self._error is not None:
            raise HeadwaterError(f"the rollback was not measured: {self._error}") from self._error
        return self._found

    def _serves(self, version: str, started: float) -> float:
        name = self._world.settings.learning.name
        while time.monotonic() - started < _MOST_SECONDS:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._world.port}/models", timeout=_MOST_SECONDS) as told:
                if json.load(told)["students"][name]["serving"] == version:
                    return round(time.monotonic() - started, 2)
            time.sleep(_LOOK_SECONDS)
        raise HeadwaterError(f"{version} does not serve after {_MOST_SECONDS:g} s")
