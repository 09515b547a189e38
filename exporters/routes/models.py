"""``GET /models`` and ``POST /models/rollback``."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.asks import RollbackAsk, schema
from exporters.services import services_of

router = APIRouter(tags=["models"])


@router.get("/models")
async def get_models(request: Request) -> Response:
    """List the published versions, newest first, and say which one serves here."""
    services = services_of(request)
    versions = await asyncio.to_thread(services.list_models)
    return bodies.json({"serving": services.model_version, "versions": versions})


@router.post("/models/rollback", openapi_extra={"requestBody": schema(RollbackAsk)})
async def post_rollback(request: Request) -> Response:
    """Serve an earlier version again, on every server."""
    services = services_of(request)
    ask = await bodies.decode(request, RollbackAsk, services.limits.body_bytes)
    version = await services.rollback(ask.version)
    return bodies.json({"rolled_back_to": version})
