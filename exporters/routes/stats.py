"""``GET /stats``: the numbers of the live page."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.bodies import json
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
