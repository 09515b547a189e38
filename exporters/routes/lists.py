"""``GET /users/{id}/lists``: every student and every source of candidates for one user, side by side."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from exporters.answers import UserLists
from exporters.bodies import json
from exporters.openapi import operation
from exporters.services import services_of

router = APIRouter(tags=["users"])


@router.get("/users/{user_id}/lists", openapi_extra=operation(UserLists))
async def get_lists(
    request: Request,
    user_id: str,
    count: Annotated[int, Query(ge=1, le=100, description="items of each list")] = 10,
) -> Response:
    """Compare what every student, and every source of candidates alone, would show this user. Nothing is logged."""
    now_ms = services_of(request).clock_ms()
    found = await asyncio.to_thread(request.app.state.side_by_side.lists, user_id, count, now_ms)
    return json(found)
