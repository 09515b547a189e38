"""From the body of a ranking request to its response: what the four ranking routes share."""

from __future__ import annotations

from fastapi import Request, Response

from exporters import bodies
from exporters.asks import Ask
from exporters.problem import Problem
from exporters.request_context import note_timings
from exporters.services import services_of


async def ranked(request: Request, route: str, kind: type[Ask]) -> Response:
    """Decode, rank and answer; the response is encoded once and passes no other serialiser.

    Raises
    ------
    Problem
        503 ``not_ready``: nothing is known of any item, and the server is still about to learn of them.
    """
    ask = await bodies.decode(request, kind, services_of(request).limits.body_bytes)
    document = await request.app.state.desk.answer(route, ask)
    note_timings(document["timings_ms"])
    if document["reason"] == "empty_catalogue" and (reasons := services_of(request).not_ready()):
        raise Problem(503, "not_ready", " ".join(reasons), retry_after_seconds=1, reasons=reasons)
    return bodies.json(document)
