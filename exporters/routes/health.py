"""``GET /health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from exporters.answers import Live, Ready
from exporters.bodies import json
from exporters.openapi import operation
from exporters.problem import Problem
from exporters.services import services_of

router = APIRouter(tags=["health"])


@router.get("/health/live", openapi_extra=operation(Live))
async def live(request: Request) -> Response:
    """Say that the process answers."""
    return json({"status": "live"})


@router.get("/health/ready", openapi_extra=operation(Ready) | {"x-headwater-not-ready": 503})
async def ready(request: Request) -> Response:
    """Say whether requests should come: caught up with the stream, a model in place, store and broker there."""
    services = services_of(request)
    reasons = ["The server is about to end."] if services.lifecycle.leaving else services.not_ready()
    health = services.health()
    if reasons:
        raise Problem(503, "not_ready", " ".join(reasons), retry_after_seconds=1, reasons=reasons, health=health)
    return json({"status": "ready", "model_version": services.model_version, "health": health})


@router.get(
    "/metrics", openapi_extra={"responses": {"200": {"content": {"text/plain": {"schema": {"type": "string"}}}}}}
)
async def get_metrics(request: Request) -> Response:
    """Prometheus metrics of this process."""
    services_of(request).students.show()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
