"""What is known of the request that is being answered: its id and the time that its stages took."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass(kw_only=True, slots=True)
class RequestContext:
    """One request."""

    request_id: str
    caller: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    started_ns: int = 0  # since 1970, for traces


CURRENT: ContextVar[RequestContext | None] = ContextVar("headwater_request", default=None)


def request_id_of(given: bytes | None) -> str:
    """Take the client's id where it is short and printable, so that it can go into a log and a header; else make one.

    >>> request_id_of(b"abc-1"), len(request_id_of(b"two words"))
    ('abc-1', 32)
    """
    if given is not None and _ACCEPTED.fullmatch(given):
        return given.decode("ascii")
    return uuid.uuid4().hex


def note_timings(timings_ms: Mapping[str, float]) -> None:
    """Keep the stages of the current request for its log line and its trace."""
    current = CURRENT.get()
    if current is not None:
        current.timings_ms = timings_ms
