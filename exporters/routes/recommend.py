"""``POST /recommend``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.asks import RecommendAsk, schema
from exporters.services import services_of

router = APIRouter(tags=["rankings"])


@router.post("/recommend", openapi_extra={"requestBody": schema(RecommendAsk)})
async def post_recommend(request: Request) -> Response:
    """Rank the catalogue for a user."""
    ask = await bodies.decode(request, RecommendAsk, services_of(request).limits.body_bytes)
    return bodies.json(await request.app.state.desk.answer("recommend", ask))
