"""Calls of the API without any transport: what is sent, and how the answer is read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec
from msgspec import Struct

from exporters.answers import (
    Accepted,
    ItemFacts,
    Live,
    Models,
    ProblemDocument,
    Ranking,
    Ready,
    Reloaded,
    RolledBack,
    UserSession,
)
from streamer.client.errors import AnswerError, ClientError, Problem, Unreachable

T = TypeVar("T", bound=Struct)
Event = Mapping[str, Any]


class AskFields(TypedDict, total=False):
    """What every ranking request may say beside what its method asks for."""

    count: int
    surface: str
    event_time_ms: int | None
    exclude_seen: bool
    available: bool
    allow: list[str] | None
    deny: list[str]
    categories: list[str] | None
    explain: bool
    log: bool
    deadline_ms: float | None


class SearchFields(AskFields, total=False):
    """What a search may say beside its query."""

    source_item_id: str | None


class SimilarFields(AskFields, total=False):
    """What a request for similar items may say beside its item."""

    query: str | None


class ListFields(SearchFields, SimilarFields, total=False):
    """What a request for a list may say beside its user."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request and the kind of its answer.

    ``idempotent`` calls may be sent again although the first one may have arrived.
    """

    method: str
    path: str
    answer: type[T]
    body: bytes | None = None
    idempotent: bool = True

    def read(self, response: httpx.Response) -> T:
        """Read an answer.

        Raises
        ------
        Problem
            The server says what is wrong.
        AnswerError
            The answer is none of ours.
        """
        if response.status_code >= 400:
            raise _problem_of(response)
        try:
            answer = msgspec.json.decode(response.content, type=self.answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AnswerError(f"{self.method} {self.path}: the answer is no {self.answer.__name__}: {error}") from error
        if isinstance(answer, Accepted) and "broker_unavailable" in answer.reasons:
            missing = answer.reasons["broker_unavailable"]
            raise Problem(503, "broker_unavailable", f"{missing} of {answer.accepted + answer.rejected} events")
        return answer

    def unreachable(self, error: httpx.TransportError) -> ClientError:
        """Turn a failure of the transport into ours; one before the request was sent is always repeatable."""
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        said = f"{self.method} {self.path}: {type(error).__name__} {error}"
        return Unreachable(said, repeatable=unsent or self.idempotent)


def ranking(route: str, fields: Mapping[str, Any]) -> Call[Ranking]:
    """Call one of the ranking routes."""
    return Call(method="POST", path=f"/{route}", answer=Ranking, body=msgspec.json.encode(fields))


def publish(events: Event | Sequence[Event]) -> Call[Accepted]:
    """Publish events. One without ``event_id`` gets one here, so that sending it twice has the effect of once.

    >>> b"event_id" in publish({"type": "interaction"}).body
    True
    """
    given = [events] if isinstance(events, Mapping) else events
    now_ms = time.time_ns() // 1_000_000
    whole = [{"event_id": uuid.uuid4().hex, "event_time_ms": now_ms, **event} for event in given]
    return Call(method="POST", path="/events", answer=Accepted, body=msgspec.json.encode(whole))


def item(item_id: str) -> Call[ItemFacts]:
    """Describe an item."""
    return Call(method="GET", path=f"/items/{quote(item_id, safe='')}", answer=ItemFacts)


def session(user_id: str, wait_for_event_id: str | None, timeout_ms: float) -> Call[UserSession]:
    """Read a user's session, and wait for an event to show in it."""
    asked = {"wait_for_event_id": wait_for_event_id, "timeout_ms": timeout_ms} if wait_for_event_id else {}
    query = f"?{urlencode(asked)}" if asked else ""
    return Call(method="GET", path=f"/users/{quote(user_id, safe='')}/session{query}", answer=UserSession)


def models() -> Call[Models]:
    """List the versions."""
    return Call(method="GET", path="/models", answer=Models)


def rollback(name: str | None, version: str | None) -> Call[RolledBack]:
    """Serve an earlier version again."""
    body = msgspec.json.encode({"name": name, "version": version})
    return Call(method="POST", path="/models/rollback", answer=RolledBack, body=body, idempotent=version is not None)


def reload() -> Call[Reloaded]:
    """Read the settings again."""
    return Call(method="POST", path="/admin/reload", answer=Reloaded)


def live() -> Call[Live]:
    """Ask whether the process answers."""
    return Call(method="GET", path="/health/live", answer=Live)


def ready() -> Call[Ready]:
    """Ask whether requests should come."""
    return Call(method="GET", path="/health/ready", answer=Ready)


def _problem_of(response: httpx.Response) -> ClientError:
    request_id = response.headers.get("x-request-id", "")
    after = response.headers.get("retry-after", "")
    try:
        told = msgspec.json.decode(response.content, type=ProblemDocument)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy's answer
        repeatable = response.status_code in (502, 503, 504)
        return AnswerError(f"status {response.status_code} without a problem document", repeatable=repeatable)
    seconds = float(after) if after.isdecimal() else None
    return Problem(told.status, told.reason, told.detail, seconds, request_id)
