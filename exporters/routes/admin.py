"""``POST /admin/reload``: the settings are read again."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.answers import Reloaded
from exporters.openapi import operation
from exporters.services import services_of

router = APIRouter(tags=["operations"])


@router.post("/admin/reload", openapi_extra=operation(Reloaded, errors=("409", "422")))
async def post_reload(request: Request) -> Response:
    """Read the settings again. What can change while the server runs changes at once, the rest is named."""
    return bodies.json(await services_of(request).reload())
