"""The serving process: the HTTP application with its real parts behind it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import msgspec
from fastapi import FastAPI

from exporters.announcements import announcement_of
from exporters.errors import ExporterError
from exporters.problem import Problem
from exporters.rate_limit import RateLimit
from exporters.registry import Registry
from exporters.server import build_app
from exporters.services import Services
from feature_store.user_vectors import UserVectors
from streamer import events
from streamer.announcing import announce
from streamer.errors import BrokerError
from streamer.http_door import KafkaDoor
from streamer.server_end import Ending, http_server
from streamer.server_links import BrokerLink, StoreLink
from streamer.server_reload import Reloader
from streamer.server_settings import access_log_of, grace_of, keys_of, limits_of, rate_of
from streamer.server_state import ServerState
from streamer.settings import Settings
from streamer.tracing import opened_tracer

_log = logging.getLogger(__name__)
_FOUNDATION_ITEMS = 20  # candidates that the foundation model adds to a list
_SLOW_DEADLINES, _SLOW_MS = 3.0, 500.0


@asynccontextmanager
async def composed(
    settings: Settings, *, cold: bool = False, read_settings: Callable[[], Settings] = Settings
) -> AsyncIterator[FastAPI]:
    """Start everything that the server stands on, and stop it afterwards.

    The application is there at once: model, store and broker are reached for in the background, for as long as it
    takes, and readiness says what is missing. ``app.state.reloader`` holds the settings in force.

    Parameters
    ----------
    settings
        Broker, stores, limits.
    cold
        Be ready without a model: the counting sources are added up until the first version is published.
    read_settings
        Reads the settings again for a reload.
    """
    async with AsyncExitStack() as stack:
        state = ServerState(settings)
        serving = settings.serving
        door = KafkaDoor(events.Limits(**settings.events.model_dump()), wait_seconds=serving.broker_wait_seconds)
        services: Services | None = None

        def slow_ms() -> float:
            deadline_ms = serving.deadline_ms if services is None else services.limits.deadline_ms
            return max(_SLOW_DEADLINES * deadline_ms, _SLOW_MS)

        store = StoreLink(settings.stores, slow_ms)
        broker = BrokerLink(settings.kafka, door, state, serving.staleness_seconds)
        services = _services(settings, state, door, store, broker, cold)
        services.tracer = stack.enter_context(opened_tracer(settings.tracing))
        app = build_app(services)
        app.state.reloader = Reloader(settings, services, door, read_settings)
        services.reload = app.state.reloader.reload
        for link in (store, broker):
            stack.push_async_callback(link.close)
            stack.push_async_callback(_stop, asyncio.create_task(link.run()))
        yield app


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _services(
    settings: Settings, state: ServerState, door: KafkaDoor, store: StoreLink, broker: BrokerLink, cold: bool
) -> Services:
    def not_ready() -> list[str]:
        reasons = broker.reasons() + store.reasons()
        if not any(student.ready for student in state.students) and not cold:
            reasons.append("No model has been published yet; start with --cold to serve the counting sources alone.")
        return reasons

    def health() -> dict[str, Any]:
        return {
            "lag": broker.lag(),
            "broker_silent_seconds": broker.silence_seconds(),
            "store": store.store.gone or "answers",
        }

    return Services(
        store=store.store,
        door=door,
        host=state.host,
        tables=state.tables,
        index=state.index,
        students=state.students,
        catalogue=state.catalogue,
        limits=limits_of(settings),
        keys=keys_of(settings.serving),
        rate=RateLimit(rate_of(settings.serving)),
        access_log=access_log_of(settings),
        board=state.board,
        known_of=lambda user_id: known_of(state, store.users, user_id),
        knows=lambda: store.users is not None and len(state.foundation) > 0,
        not_ready=not_ready,
        health=health,
        list_models=lambda: list_models(state),
        rollback=_rollback(settings, state),
    )


def known_of(state: ServerState, users: UserVectors | None, user_id: str) -> list[str]:
    """Items that the foundation model finds for a user; none before its first version."""
    if users is None or not len(state.foundation):
        return []
    found = users.read(user_id)
    if found is None:
        return []
    return [item_id for item_id, _ in state.foundation.search(found.vector, found.space, _FOUNDATION_ITEMS)]


def list_models(state: ServerState) -> list[dict[str, Any]]:
    """List the published versions of the served students, newest first within each."""
    registry = state.registry
    return [
        _described(registry, name, version)
        for name in state.students.names()
        for version in reversed(registry.versions(name))
    ]


def _described(registry: Registry, name: str, version: str) -> dict[str, Any]:
    try:
        described: dict[str, Any] = msgspec.to_builtins(registry.manifest(name, version))
    except ExporterError as error:  # one damaged version must not hide the others
        return {"name": name, "version": version, "damaged": str(error)}
    return described


def _rollback(settings: Settings, state: ServerState) -> Callable[[str, str | None], Any]:
    def move(name: str, version: str | None) -> str:
        registry = state.registry
        try:
            pointer = registry.rollback(name, version, "asked for over HTTP")
            told = announcement_of(registry, registry.manifest(name, pointer.version), "rolled_back", pointer.reason)
        except ExporterError as error:
            raise Problem(409, "no_such_version", str(error)) from error
        try:
            announce(told, settings.kafka.bootstrap_servers)
        except BrokerError as error:
            raise Problem(503, "not_announced", f"{pointer.version} is pinned in the registry, but {error}") from error
        return pointer.version

    async def rollback(name: str, version: str | None) -> str:
        return await asyncio.to_thread(move, name, version)

    return rollback


async def run(
    settings: Settings,
    *,
    cold: bool,
    on_address: Callable[[str], None],
    read_settings: Callable[[], Settings] = Settings,
) -> None:
    """Serve until a signal comes, then drain.

    Parameters
    ----------
    settings
        Host and port among them; port 0 picks a free one.
    cold, read_settings
        See :func:`composed`.
    on_address
        Told the address as soon as it is listened on.
    """
    listening = socket.create_server((settings.serving.host, settings.serving.port))
    host, port = listening.getsockname()[:2]
    async with composed(settings, cold=cold, read_settings=read_settings) as app:
        reloader: Reloader = app.state.reloader
        server = http_server(app, settings.serving.drain_seconds)
        ending = Ending(server, app.state.services.lifecycle, lambda: grace_of(reloader.settings.serving))
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = asyncio.create_task(_reloaded(reloader))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        with ending.on_signals(reload):
            on_address(f"http://{host}:{port}")
            await server.serve(sockets=[listening])
    _log.info("ended: impressions are flushed, nothing is under way")


async def _reloaded(reloader: Reloader) -> None:
    with suppress(Problem):  # the log has the reason
        await reloader.reload()
