"""``GET /stats`` and ``GET /timeline``: the numbers of the live page."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.answers import TimelineDocument
from exporters.bodies import json
from exporters.openapi import operation
from exporters.services import services_of

router = APIRouter(tags=["page"])


@router.get("/stats")
async def get_stats(request: Request) -> Response:
    """Counters, freshness and the quality last announced by the trainer."""
    services = services_of(request)
    document = services.board.document()
    document["items"] = len(services.catalogue)
    document["model_version"] = services.model_version
    document["model_age_seconds"] = round(services.model_age_seconds, 1)
    return json(document)


@router.get("/timeline", openapi_extra=operation(TimelineDocument))
async def get_timeline(request: Request) -> Response:
    """Quality as it was announced, every version that came or was refused, and drift, in the order of time."""
    return json(services_of(request).board.timeline.document())
