"""``GET /items/{id}``: what the catalogue says of an item, and whether the models know it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from exporters.answers import ItemFacts
from exporters.bodies import json
from exporters.openapi import operation
from exporters.problem import Problem
from exporters.services import services_of

router = APIRouter(tags=["items"])


@router.get("/items/{item_id:path}", openapi_extra=operation(ItemFacts, errors=("404",)))
async def get_item(request: Request, item_id: str) -> Response:
    """Describe one item."""
    services = services_of(request)
    item = services.catalogue.get(item_id)
    row = services.tables.row(item_id)
    if item is None and row <= 1:
        raise Problem(404, "unknown_item", f"Neither the catalogue nor an event has named the item {item_id!r}.")
    return json(
        {
            "item_id": item_id,
            "title": item.title if item else "",
            "categories": item.categories if item else (),
            "price": item.price if item else None,
            "published_time_ms": item.published_time_ms if item else None,
            "available": item.available if item else True,
            "in_catalogue": item is not None,
            "has_vector": row > 1,
        }
    )
