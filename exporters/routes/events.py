"""``POST /events``: one event, an array of them, or one a line."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from exporters import bodies, metrics
from exporters.answers import Accepted
from exporters.openapi import operation
from exporters.problem import Problem
from exporters.services import Services, services_of

router = APIRouter(tags=["events"])
_MAX_ERRORS = 20
_RETRY_SECONDS = 1.0
_STATUS = {"malformed_json": 400, "too_large": 413, "broker_unavailable": 503}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}


def split(raw: bytes) -> list[bytes]:
    """Cut a body into its events without reading them.

    >>> split(b'[{"a":1},{"b":2}]')
    [b'{"a":1}', b'{"b":2}']
    >>> split(b'{"a":1}')
    [b'{"a":1}']
    >>> split(b'{"a":1}' + bytes([10]) + b'oops')
    [b'{"a":1}', b'oops']
    """
    text = raw.strip()
    if text.startswith(b"["):
        try:
            return [bytes(part) for part in msgspec.json.decode(text, type=list[msgspec.Raw])]
        except msgspec.DecodeError as error:
            raise Problem(400, "malformed_json", f"The array cannot be read: {error}") from None
    if b"\n" in text and not _is_one_document(text):
        return [line for line in text.splitlines() if line.strip()]
    return [text]


def _is_one_document(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


@router.post("/events", status_code=202, openapi_extra=operation(Accepted, status=202, body=_BODY))
async def post_events(request: Request) -> Response:
    """Check events and publish them. 202 when at least one was accepted; the others are listed with their reasons."""
    services = services_of(request)
    parts = split(await bodies.read(request, services.limits.body_bytes))
    outcomes = await asyncio.gather(*(services.door.accept(part) for part in parts))
    event_ids = [event_id for event_id, reason, _ in outcomes if reason is None]
    for part, (_, reason, _) in zip(parts, outcomes, strict=True):
        if reason is None:
            request.app.state.outcomes.observe(part)
    errors = [
        {"index": index, "reason": reason, "message": message}
        for index, (_, reason, message) in enumerate(outcomes)
        if reason is not None
    ]
    _count(services, len(event_ids), errors)
    if errors and not event_ids:
        raise _all_rejected(errors)
    reasons = Counter(str(error["reason"]) for error in errors)
    document = {
        "accepted": len(event_ids),
        "rejected": len(errors),
        "event_ids": event_ids,
        "reasons": dict(reasons),
        "errors": errors[:_MAX_ERRORS],
    }
    return bodies.json(document, 202)


def _all_rejected(errors: list[dict[str, Any]]) -> Problem:
    reasons = Counter(str(error["reason"]) for error in errors)
    reason, _ = reasons.most_common(1)[0]
    return Problem(
        _STATUS.get(reason, 422),
        reason,
        str(errors[0]["message"]),
        accepted=0,
        rejected=len(errors),
        reasons=dict(reasons),
        errors=errors[:_MAX_ERRORS],
        retry_after_seconds=_RETRY_SECONDS if reason == "broker_unavailable" else None,
    )


def _count(services: Services, accepted: int, errors: list[dict[str, Any]]) -> None:
    metrics.EVENTS_IN.labels("accepted").inc(accepted)
    metrics.EVENTS_IN.labels("rejected").inc(len(errors))
    for error in errors:
        metrics.EVENTS_REJECTED.labels(error["reason"]).inc()
    services.board.counts["events_accepted"] += accepted
    services.board.counts["events_rejected"] += len(errors)
