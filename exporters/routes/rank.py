"""``POST /rank``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.asks import RankAsk, schema
from exporters.services import services_of

router = APIRouter(tags=["rankings"])


@router.post("/rank", openapi_extra={"requestBody": schema(RankAsk)})
async def post_rank(request: Request) -> Response:
    """Order the given candidates for a user; unknown items are scored as unknown."""
    ask = await bodies.decode(request, RankAsk, services_of(request).limits.body_bytes)
    return bodies.json(await request.app.state.desk.answer("rank", ask))
