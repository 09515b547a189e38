"""A server as in operation: a real process over a broker, a registry with a large catalogue, and a store with users."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from feature_store.online import OnlineStore
from feature_store.vectors import NAMES
from streamer import topics
from streamer.bench.large_catalogue import LargeCatalogue, publish
from streamer.bench.made_up_users import MadeUpUsers
from streamer.bench.open_loop import Ask
from streamer.broker import free_port
from streamer.errors import HeadwaterError
from streamer.events import Event, Limits, decode
from streamer.processes import Child
from streamer.publishing import Publisher
from streamer.settings import Settings

READY_SECONDS = 180.0
_PUSHED_EVERY_SECONDS = 0.02  # as the worker's batches
_USERS_AT_ONCE = 1_000


@dataclass(kw_only=True)
class World:
    """What a run measures: a server, and what stands behind it."""

    settings: Settings
    catalogue: LargeCatalogue
    users: MadeUpUsers
    store: OnlineStore
    server: Child
    port: int
    ready_seconds: float
    seconds: dict[str, float] = field(default_factory=dict)  # of the steps of preparing


def settings_for(catalogue: LargeCatalogue, broker: str, state: Path, redis_url: str | None) -> Settings:
    """Make the settings of a server for a catalogue of this size."""
    settings = Settings().model_copy(deep=True)
    settings.kafka.bootstrap_servers = broker
    settings.stores.state_dir = state
    if redis_url is not None:
        settings.stores.online_store, settings.stores.redis_url = "redis", redis_url
    settings.learning.catalog_rows = catalogue.rows
    settings.learning.neighbours = catalogue.neighbours
    settings.learning.dimension = catalogue.dimension
    return settings


@contextlib.contextmanager
def prepared(settings: Settings, catalogue: LargeCatalogue, users: int) -> Iterator[World]:
    """Fill broker, registry and store, start the server, and wait until it is ready.

    Raises
    ------
    HeadwaterError
        The server has ended, or is not ready in time.
    """
    seconds: dict[str, float] = {}
    made_up = MadeUpUsers(catalogue, users, settings.sessions.history_limit)
    with _timed(seconds, "catalogue"):
        _send_items(settings, catalogue)
    with _timed(seconds, "version"):
        publish(catalogue, settings)
    store = OnlineStore.open(settings.stores.feast_dir, settings.stores.online_store, settings.stores.redis_url)
    with _timed(seconds, "users"):
        _push_users(store, made_up)
    port = free_port()
    started = time.monotonic()
    server = Child(["serve", "--port", str(port)], environment(settings), settings.stores.state_dir / "logs/serve.log")
    try:
        until_ready(server, port)
        yield World(
            settings=settings, catalogue=catalogue, users=made_up, store=store, server=server, port=port,
            ready_seconds=round(time.monotonic() - started, 2), seconds=seconds,
        )  # fmt: skip
    finally:
        server.stop()


def environment(settings: Settings) -> dict[str, str]:
    """Write the settings of a run as a child process reads them."""
    stores, learning = settings.stores, settings.learning
    return {
        "HEADWATER_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "HEADWATER_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "HEADWATER_STORES__STATE_DIR": str(stores.state_dir),
        "HEADWATER_STORES__ONLINE_STORE": stores.online_store,
        "HEADWATER_STORES__REDIS_URL": stores.redis_url,
        "HEADWATER_LEARNING__CATALOG_ROWS": str(learning.catalog_rows),
        "HEADWATER_LEARNING__NEIGHBOURS": str(learning.neighbours),
        "HEADWATER_LEARNING__DIMENSION": str(learning.dimension),
    }


def until_ready(server: Child, port: int, within_seconds: float = READY_SECONDS) -> None:
    """Wait until a server says that requests may come.

    Raises
    ------
    HeadwaterError
        It has ended, or is not ready in time.
    """
    deadline, said = time.monotonic() + within_seconds, "nothing"
    while time.monotonic() < deadline:
        server.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
        except OSError as error:
            said = str(error)
        time.sleep(0.05)
    raise HeadwaterError(f"after {within_seconds:.0f} s the server is not ready; it says: {said}; log: {server.log}")


class WorkersPart(threading.Thread):
    """Writes to the store what the events of a plan change in their users' records, when they are due.

    It stands in for a worker, whose processor time is no part of the server's: the server sees sessions change under
    it at the same moments.

    Parameters
    ----------
    world
        Users and store.
    asks, due
        The requests of a plan and their seconds after its start; those to ``/events`` count.
    """

    def __init__(self, world: World, asks: list[Ask], due: list[float]) -> None:
        super().__init__(name="workers-part", daemon=True)
        self._users, self._store = world.users, world.store
        limits = Limits(**world.settings.events.model_dump())
        self._events: list[tuple[float, Event]] = [
            (when, decode(ask.body, limits)) for ask, when in zip(asks, due, strict=True) if ask.path == "/events"
        ]
        self.pushed = 0
        self._start = 0.0

    def begin(self, start: float) -> None:
        """Begin with a plan that starts at a Unix time."""
        self._start = start
        self.start()

    def run(self) -> None:
        """Push until the last event."""
        waiting = self._events[::-1]
        while waiting:
            time.sleep(_PUSHED_EVERY_SECONDS)
            changed = []
            while waiting and self._start + waiting[-1][0] <= time.time():
                changed.append(self._users.apply(waiting.pop()[1]))
            self._store.push(changed)
            self.pushed += len(changed)


def _send_items(settings: Settings, catalogue: LargeCatalogue) -> None:
    topics.create_topics(settings)
    with Publisher(settings.kafka.bootstrap_servers, linger_ms=50) as publisher:
        for event in catalogue.item_events(time.time_ns() // 1_000_000):
            publisher.send(event)


def _push_users(store: OnlineStore, users: MadeUpUsers) -> None:
    waiting = []
    for state in users.live(time.time_ns() // 1_000_000):
        waiting.append(state)
        if len(waiting) == _USERS_AT_ONCE:
            store.push(waiting)
            waiting = []
    store.push(waiting)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - started, 2)


def describe(world: World) -> dict[str, object]:
    """Say what was measured, for the JSON of a run."""
    catalogue, learning = world.catalogue, world.settings.learning
    return {
        "items": catalogue.items,
        "users": len(world.users.states),
        "neighbours": learning.neighbours,
        "dimension": learning.dimension,
        "features": len(NAMES),
        "family": learning.family,
        "online_store": world.settings.stores.online_store,
        "cores": os.cpu_count(),
        "ready_seconds": world.ready_seconds,
        "prepare_seconds": world.seconds,
    }
