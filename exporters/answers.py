"""What the server answers, as msgspec structs: the OpenAPI describes them, and the client decodes into them.

This module imports nothing heavy, so that a client can use it without torch and ONNX Runtime.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType


class Why(Struct, frozen=True, kw_only=True):
    """One signal that speaks for an item."""

    signal: str
    contribution: float
    share: float
    text: str


class RankedItem(Struct, frozen=True, kw_only=True):
    """One item of a list; what explains it is there where ``explain`` was asked for."""

    item_id: str
    score: float
    title: str
    categories: tuple[str, ...]
    why: list[Why] | UnsetType = UNSET
    sources: dict[str, float] | UnsetType = UNSET
    contributions: dict[str, float] | UnsetType = UNSET
    features: list[float] | UnsetType = UNSET


class Ranking(Struct, frozen=True, kw_only=True):
    """A ranked list."""

    impression_id: Annotated[str, Meta(description="send it back with what the user does with this list")]
    items: list[RankedItem]
    student: str | None
    model_version: str | None
    fallback: Annotated[bool, Meta(description="the ranker did not make this list; reason says why")]
    reason: str | None
    candidates: Annotated[int, Meta(description="items that were scored")]
    timings_ms: dict[str, float]
    state: Annotated[dict[str, Any] | None | UnsetType, Meta(description="null in a fallback")] = UNSET
    intents: Annotated[
        dict[str, list[dict[str, Any]]] | UnsetType, Meta(description="what the ranker expects next, likeliest first")
    ] = UNSET
    source_names: list[str] | UnsetType = UNSET


class EventError(Struct, frozen=True, kw_only=True):
    """An event that was turned away."""

    index: int
    reason: str
    message: str


class Accepted(Struct, frozen=True, kw_only=True):
    """What became of the events of one request."""

    accepted: int
    rejected: int
    event_ids: list[str]
    reasons: dict[str, int]
    errors: list[EventError]


class ItemFacts(Struct, frozen=True, kw_only=True):
    """What is known of an item."""

    item_id: str
    title: str
    categories: tuple[str, ...]
    price: float | None
    published_time_ms: int | None
    available: bool
    in_catalogue: bool
    has_vector: bool


class PastEvent(Struct, frozen=True, kw_only=True):
    """An event of a user's history."""

    item_id: str
    title: str
    action: str
    event_time_ms: int


class UserSession(Struct, frozen=True, kw_only=True):
    """A user's session as the ranker sees it."""

    user_id: str
    known: bool
    session_id: str | None
    session_length: int
    last_event_id: str | None
    last_published_ms: int
    history: list[PastEvent]
    features: dict[str, float]
    visible: Annotated[bool, Meta(description="the event that was waited for is the last one of the session")]
    waited_ms: float


class ListedItem(Struct, frozen=True, kw_only=True):
    """An item of a list that is compared."""

    item_id: str
    title: str
    score: float


class StudentList(Struct, frozen=True, kw_only=True):
    """What a student would show."""

    name: str
    answers: Annotated[bool, Meta(description="this student answers the user's requests")]
    share: float
    model_version: str | None
    items: list[ListedItem]


class SourceList(Struct, frozen=True, kw_only=True):
    """What a source of candidates would show alone."""

    name: str
    items: list[ListedItem]


class UserLists(Struct, frozen=True, kw_only=True):
    """A user's lists side by side."""

    user_id: str
    students: list[StudentList]
    sources: list[SourceList]


class TimelineDocument(Struct, frozen=True, kw_only=True):
    """What has happened to models and quality, each in the order of time."""

    quality: Annotated[list[dict[str, Any]], Meta(description="time_ms, model, and every announced rate of hits")]
    versions: Annotated[list[dict[str, Any]], Meta(description="time_ms, model, kind, version, reason")]
    drift: Annotated[list[dict[str, Any]], Meta(description="time_ms, kind, what, state")]


class ServedStudent(Struct, frozen=True, kw_only=True):
    """A student of this server."""

    share: float
    serving: str | None
    pinned: bool
    age_seconds: float
    items: int
    canary: dict[str, Any] | None


class Models(Struct, frozen=True, kw_only=True):
    """Versions that serve here, and all that were published."""

    serving: str | None
    students: dict[str, ServedStudent]
    versions: list[dict[str, Any]]


class RolledBack(Struct, frozen=True, kw_only=True):
    """The version that serves again."""

    name: str
    rolled_back_to: str


class Live(Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: str


class Ready(Struct, frozen=True, kw_only=True):
    """Requests should come."""

    status: str
    model_version: str | None
    health: Annotated[dict[str, Any], Meta(description="lag by topic, broker and store")]


class Reloaded(Struct, frozen=True, kw_only=True):
    """What a reload of the settings has done. Values of keys are never told."""

    changed: dict[str, Any]
    needs_restart: dict[str, Any]


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """An error, as RFC 9457 has it; some have further members."""

    type: str
    title: str
    status: int
    reason: Annotated[str, Meta(description="a short machine-readable word")]
    detail: Annotated[str, Meta(description="what was given, what is allowed, what to do")]


ALL: tuple[type[Struct], ...] = (
    Ranking,
    Accepted,
    ItemFacts,
    UserSession,
    UserLists,
    TimelineDocument,
    Models,
    RolledBack,
    Live,
    Ready,
    Reloaded,
    ProblemDocument,
)


def components() -> dict[str, Any]:
    """Schemas of all answers by name, as the OpenAPI wants them under ``components``.

    >>> components()["Live"]["properties"]
    {'status': {'type': 'string'}}
    """
    _, schemas = msgspec.json.schema_components(ALL, ref_template="#/components/schemas/{name}")
    return dict(schemas)
