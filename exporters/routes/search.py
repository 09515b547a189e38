"""``POST /search``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters import bodies
from exporters.asks import SearchAsk, schema
from exporters.services import services_of

router = APIRouter(tags=["rankings"])


@router.post("/search", openapi_extra={"requestBody": schema(SearchAsk)})
async def post_search(request: Request) -> Response:
    """Find items by the words of their titles and categories, ordered for a user."""
    ask = await bodies.decode(request, SearchAsk, services_of(request).limits.body_bytes)
    return bodies.json(await request.app.state.desk.answer("search", ask))
