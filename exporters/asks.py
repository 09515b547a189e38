"""The bodies of requests, as msgspec structs: unknown fields and wrong types are turned away while decoding."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Milliseconds = Annotated[int, Meta(ge=0)]


class Ask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every ranking request may say."""

    user_id: Identifier
    count: Annotated[int, Meta(ge=1, description="length of the list")] = 10
    surface: Identifier = "home"
    query: Annotated[str, Meta(max_length=256)] | None = None
    source_item_id: Identifier | None = None
    event_time_ms: Annotated[Milliseconds, Meta(description="rank as of this moment; now when absent")] | None = None
    exclude_seen: Annotated[bool, Meta(description="leave out what the user has interacted with")] = True
    available: Annotated[bool, Meta(description="only items that are available")] = True
    allow: list[Identifier] | None = None
    deny: list[Identifier] = []
    categories: list[Identifier] | None = None
    explain: bool = False
    log: Annotated[bool, Meta(description="publish the impression")] = True
    deadline_ms: Annotated[float, Meta(gt=0)] | None = None


class RecommendAsk(Ask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /recommend``."""


class RankAsk(Ask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /rank``: order the given candidates; all of them by default."""

    candidates: list[Identifier]
    count: Annotated[int, Meta(ge=1)] | None = None  # type: ignore[assignment]
    exclude_seen: bool = False
    available: bool = False


class SearchAsk(Ask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /search``: items whose title or categories match, ordered for this user."""

    query: Annotated[str, Meta(min_length=1, max_length=256)]
    user_id: Identifier = "anonymous"
    surface: Identifier = "search"
    exclude_seen: bool = False


class SimilarAsk(Ask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /similar``: what goes with the source item, ordered for this user."""

    source_item_id: Identifier
    user_id: Identifier = "anonymous"
    surface: Identifier = "similar"


class RollbackAsk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /models/rollback``: a student back to ``version``, or to the one served before."""

    name: Annotated[Identifier | None, Meta(description="the student; the first one when absent")] = None
    version: Identifier | None = None


def schema(kind: type[Struct]) -> dict[str, object]:
    """OpenAPI ``requestBody`` of a struct.

    >>> sorted(schema(RollbackAsk)["content"]["application/json"]["schema"]["properties"])
    ['name', 'version']
    """
    _, components = msgspec.json.schema_components([kind])
    content = {"application/json": {"schema": components[kind.__name__]}}
    return {"required": True, "content": content}
