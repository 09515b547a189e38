"""``POST /recommend``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.answers import Ranking
from exporters.asks import RecommendAsk
from exporters.openapi import operation
from exporters.ranked import ranked

router = APIRouter(tags=["rankings"])


@router.post("/recommend", openapi_extra=operation(Ranking, RecommendAsk))
async def post_recommend(request: Request) -> Response:
    """Rank the catalogue for a user."""
    return await ranked(request, "recommend", RecommendAsk)
