"""The serving process: the HTTP application with its real parts behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import uvicorn
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from fastapi import FastAPI

from exporters.contracts import Session
from exporters.errors import ExporterError
from exporters.limits import Limits
from exporters.problem import Problem
from exporters.publish import announcement_of
from exporters.server import build_app
from exporters.services import Services
from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from feature_store.user_vectors import UserVectors
from feature_store.vectors import NAMES, user_vector
from streamer import events, topics
from streamer.announcing import announce
from streamer.errors import BrokerError
from streamer.http_door import KafkaDoor
from streamer.server_state import ServerState
from streamer.server_streams import Follower
from streamer.settings import Settings

_FOUNDATION_ITEMS = 20  # candidates that the foundation model adds to a list


class FeastSessions:
    """Sessions out of the online store; features are computed for the moment that is asked for."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store

    def read(self, user_id: str, now_ms: int) -> Session:
        """Read the user's session with its features computed for ``now_ms``."""
        return session_of(self._store.read(user_id) or UserState(user_id=user_id), now_ms)


def session_of(state: UserState, now_ms: int) -> Session:
    """Turn a record into what the server reads.

    >>> session_of(UserState(user_id="u"), 0).features[0]
    np.float32(1.0)
    """
    return Session(
        user_id=state.user_id,
        item_ids=state.item_ids,
        actions=state.actions,
        event_times_ms=state.event_times_ms,
        seen_item_ids=state.seen_item_ids,
        session_id=state.session_id,
        session_length=state.session_length,
        last_event_id=state.last_event_id,
        last_published_ms=state.last_published_ms,
        features=user_vector(state, now_ms).astype(np.float32, copy=False),
        feature_names=NAMES,
        raw={"watermark_ms": state.watermark_ms, "families": state.families, "total_events": state.total_events},
    )


def limits_of(settings: Settings) -> Limits:
    """Limits of requests, from the settings."""
    return Limits(
        history=settings.sessions.history_limit,
        body_bytes=settings.serving.max_body_bytes,
        candidates=settings.serving.max_candidates,
        results=settings.serving.max_results,
        deadline_ms=settings.serving.deadline_ms,
        stability_margin=settings.serving.stability_margin,
        earliest_time_ms=settings.events.earliest_event_time_ms,
        future_tolerance_ms=1_000 * settings.events.future_tolerance_seconds,
    )


@asynccontextmanager
async def composed(settings: Settings, *, cold: bool = False) -> AsyncIterator[FastAPI]:
    """Start everything that the server stands on, and stop it afterwards.

    Parameters
    ----------
    settings
        Broker, stores, limits.
    cold
        Be ready without a model: the counting sources are added up until the first version is published.

    Raises
    ------
    BrokerError
        No broker answers, or a topic is missing.
    """
    async with AsyncExitStack() as stack:
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            acks="all",
            linger_ms=1,
            max_request_size=4 * 1_048_576,
        )
        try:
            await producer.start()
        except KafkaConnectionError as error:
            await producer.stop()
            raise BrokerError(
                f"No broker answers at {settings.kafka.bootstrap_servers} ({error}); start one, or set"
                " HEADWATER_KAFKA__BOOTSTRAP_SERVERS."
            ) from error
        stack.push_async_callback(producer.stop)
        store = await asyncio.to_thread(_open_store, settings)
        stack.callback(store.close)
        users = await asyncio.to_thread(_open_users, settings)
        stack.callback(users.close)
        state = ServerState(settings)
        await asyncio.to_thread(state.load)
        follower = await _follow(stack, settings, state)
        yield build_app(_services(settings, state, follower, store, users, producer, cold))


def _open_store(settings: Settings) -> OnlineStore:
    stores = settings.stores
    return OnlineStore.open(stores.feast_dir, stores.online_store, stores.redis_url)


def _open_users(settings: Settings) -> UserVectors:
    stores = settings.stores
    return UserVectors.open(stores.feast_dir, stores.online_store, stores.redis_url)


async def _follow(stack: AsyncExitStack, settings: Settings, state: ServerState) -> Follower:
    appliers = {
        topics.WEIGHTS: state.apply_rows,
        topics.MODELS: state.apply_announcements,
        topics.ITEMS: state.apply_items,
    }
    follower = Follower(settings.kafka.bootstrap_servers, appliers)
    stack.push_async_callback(follower.close)
    await follower.start()

    async def go_live() -> None:
        await follower.caught_up.wait()
        await asyncio.to_thread(state.went_live)

    for work in (follower.run(), go_live()):
        task = asyncio.create_task(work)
        stack.push_async_callback(_stop, task)
    return follower


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _services(
    settings: Settings,
    state: ServerState,
    follower: Follower,
    store: OnlineStore,
    users: UserVectors,
    producer: AIOKafkaProducer,
    cold: bool,
) -> Services:
    def not_ready() -> list[str]:
        reasons = [f"{records} records of {topic} are still to be read." for topic, records in follower.behind.items()]
        if not state.live and not reasons:
            reasons.append("The backlog has just been read.")
        if not any(student.ready for student in state.students) and not cold:
            reasons.append("No model has been published yet; start with --cold to serve the counting sources alone.")
        return reasons

    return Services(
        store=FeastSessions(store),
        door=KafkaDoor(producer, events.Limits(**settings.events.model_dump())),
        host=state.host,
        tables=state.tables,
        index=state.index,
        students=state.students,
        catalogue=state.catalogue,
        limits=limits_of(settings),
        api_key=settings.serving.api_key,
        board=state.board,
        known_of=lambda user_id: known_of(state, users, user_id),
        not_ready=not_ready,
        list_models=lambda: list_models(state),
        rollback=_rollback(settings, state),
    )


def known_of(state: ServerState, users: UserVectors, user_id: str) -> list[str]:
    """Items that the foundation model finds for a user; none before its first version."""
    if not len(state.foundation):
        return []
    found = users.read(user_id)
    if found is None:
        return []
    return [item_id for item_id, _ in state.foundation.search(found.vector, found.space, _FOUNDATION_ITEMS)]


def list_models(state: ServerState) -> list[dict[str, Any]]:
    """List the published versions of the served students, newest first within each."""
    registry = state.registry
    return [
        msgspec.to_builtins(registry.manifest(name, version))
        for name in state.students.names()
        for version in reversed(registry.versions(name))
    ]


def _rollback(settings: Settings, state: ServerState) -> Callable[[str, str | None], Any]:
    def move(name: str, version: str | None) -> str:
        registry = state.registry
        try:
            pointer = registry.rollback(name, version, "asked for over HTTP")
            told = announcement_of(registry, registry.manifest(name, pointer.version), "rolled_back", pointer.reason)
        except ExporterError as error:
            raise Problem(409, "no_such_version", str(error)) from error
        announce(told, settings.kafka.bootstrap_servers)
        return pointer.version

    async def rollback(name: str, version: str | None) -> str:
        return await asyncio.to_thread(move, name, version)

    return rollback


async def run(settings: Settings, *, cold: bool, on_address: Callable[[str], None]) -> None:
    """Serve until a signal comes.

    Parameters
    ----------
    settings
        Host and port among them; port 0 picks a free one.
    cold
        See :func:`composed`.
    on_address
        Told the address as soon as it is listened on.
    """
    listening = socket.create_server((settings.serving.host, settings.serving.port))
    host, port = listening.getsockname()[:2]
    async with composed(settings, cold=cold) as app:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        on_address(f"http://{host}:{port}")
        await server.serve(sockets=[listening])
