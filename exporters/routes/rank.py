"""``POST /rank``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.answers import Ranking
from exporters.asks import RankAsk
from exporters.openapi import operation
from exporters.ranked import ranked

router = APIRouter(tags=["rankings"])


@router.post("/rank", openapi_extra=operation(Ranking, RankAsk))
async def post_rank(request: Request) -> Response:
    """Order the given candidates for a user; unknown items are scored as unknown."""
    return await ranked(request, "rank", RankAsk)
