"""``POST /similar``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.asks import SimilarAsk, schema
from exporters.services import services_of

router = APIRouter(tags=["rankings"])


@router.post("/similar", openapi_extra={"requestBody": schema(SimilarAsk)})
async def post_similar(request: Request) -> Response:
    """Find what goes with an item, ordered for a user."""
    ask = await bodies.decode(request, SimilarAsk, services_of(request).limits.body_bytes)
    return bodies.json(await request.app.state.desk.answer("similar", ask))
