"""``GET /users/{id}/session``: the session as the ranker sees it, and the wait for an event to show in it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from exporters import metrics
from exporters.answers import UserSession
from exporters.bodies import json
from exporters.contracts import Session
from exporters.errors import StoreUnavailable
from exporters.openapi import operation
from exporters.problem import Problem
from exporters.services import Services, services_of

router = APIRouter(tags=["users"])
_POLL_SECONDS = 0.003
_JUST_PUBLISHED_MS = 1_000.0
_STORE_SECONDS = 5.0


@router.get("/users/{user_id:path}/session", openapi_extra=operation(UserSession, errors=("404",)))
async def get_session(
    request: Request,
    user_id: str,
    wait_for_event_id: str | None = None,
    timeout_ms: Annotated[float, Query(ge=0, le=60_000)] = 5_000,
) -> Response:
    """Read a user's session.

    With ``wait_for_event_id`` the answer comes as soon as that event is the last one applied to the session
    (``visible: true``), or after ``timeout_ms`` (``visible: false``).
    """
    services = services_of(request)
    started = time.perf_counter()
    session, visible = await _wait(services, user_id, wait_for_event_id, min(timeout_ms, services.limits.wait_ms))
    document = _document(services, session)
    document["visible"] = visible
    document["waited_ms"] = round((time.perf_counter() - started) * 1_000, 3)
    return json(document)


async def _wait(services: Services, user_id: str, event_id: str | None, timeout_ms: float) -> tuple[Session, bool]:
    until = time.perf_counter() + timeout_ms / 1_000
    session = await _read(services, user_id)
    if event_id is None:
        return session, False
    if session.last_event_id == event_id:
        _observe_freshness(services, session, at_most_ms=_JUST_PUBLISHED_MS)
        return session, True
    while time.perf_counter() < until:
        await asyncio.sleep(_POLL_SECONDS)
        session = await _read(services, user_id)
        if session.last_event_id == event_id:
            break
    visible = session.last_event_id == event_id
    if visible:
        _observe_freshness(services, session)
    return session, visible


async def _read(services: Services, user_id: str) -> Session:
    """Read in a thread: a store that hangs must not hold up other requests."""
    reading = asyncio.to_thread(services.store.read, user_id, services.clock_ms())
    try:
        return await asyncio.wait_for(reading, _STORE_SECONDS)
    except (StoreUnavailable, TimeoutError) as error:
        said = str(error) or f"The online store has not answered within {_STORE_SECONDS:g} s."
        raise Problem(503, "store_unavailable", said, retry_after_seconds=1) from error


def _observe_freshness(services: Services, session: Session, at_most_ms: float = float("inf")) -> None:
    """Measure from the publish until now.

    An event that is there at the first look was faster than the client, and its age is an upper bound of the delay,
    unless the client has come back for an old one.
    """
    freshness_ms = max(0, services.clock_ms() - session.last_published_ms)
    if freshness_ms > at_most_ms:
        return
    metrics.SESSION_FRESHNESS_SECONDS.observe(freshness_ms / 1_000)
    services.board.session_freshness_ms.add(freshness_ms)


def _document(services: Services, session: Session) -> dict[str, Any]:
    newest = slice(-services.limits.history, None)
    events = zip(session.item_ids[newest], session.actions[newest], session.event_times_ms[newest], strict=True)
    return {
        "user_id": session.user_id,
        "known": session.last_event_id is not None,
        "session_id": session.session_id,
        "session_length": session.session_length,
        "last_event_id": session.last_event_id,
        "last_published_ms": session.last_published_ms,
        "history": [
            {"item_id": item_id, "title": _title(services, item_id), "action": action, "event_time_ms": time_ms}
            for item_id, action, time_ms in events
        ],
        "features": dict(zip(session.feature_names, session.features.tolist(), strict=True)),
    }


def _title(services: Services, item_id: str) -> str:
    item = services.catalogue.get(item_id)
    return item.title if item else ""
