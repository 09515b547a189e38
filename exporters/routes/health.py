"""``GET /health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from exporters.bodies import json
from exporters.problem import Problem
from exporters.services import services_of

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> Response:
    """Say that the process answers."""
    return json({"status": "live"})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Say whether requests should come: caught up with the stream, and a model (or the cold fallback) in place."""
    services = services_of(request)
    reasons = services.not_ready()
    if reasons:
        raise Problem(503, "not_ready", " ".join(reasons), reasons=reasons)
    return json({"status": "ready", "model_version": services.model_version})


@router.get("/metrics")
async def get_metrics(request: Request) -> Response:
    """Prometheus metrics of this process."""
    services_of(request).students.show()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
