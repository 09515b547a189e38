"""``POST /search``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.answers import Ranking
from exporters.asks import SearchAsk
from exporters.openapi import operation
from exporters.ranked import ranked

router = APIRouter(tags=["rankings"])


@router.post("/search", openapi_extra=operation(Ranking, SearchAsk))
async def post_search(request: Request) -> Response:
    """Find items by the words of their titles and categories, ordered for a user."""
    return await ranked(request, "search", SearchAsk)
