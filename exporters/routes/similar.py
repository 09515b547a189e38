"""``POST /similar``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.answers import Ranking
from exporters.asks import SimilarAsk
from exporters.openapi import operation
from exporters.ranked import ranked

router = APIRouter(tags=["rankings"])


@router.post("/similar", openapi_extra=operation(Ranking, SimilarAsk))
async def post_similar(request: Request) -> Response:
    """Find what goes with an item, ordered for a user."""
    return await ranked(request, "similar", SimilarAsk)
