"""The event contract: what a client may publish, and the one validation that every door uses.

An event is one flat JSON object. :func:`decode` reads it, checks it and returns an :class:`Event`; whatever breaks the
contract raises :class:`~streamer.errors.EventError` with a machine-readable reason (one of :data:`REASONS`). Fields
that the schema does not know are kept in :attr:`Event.extra` and written back flat by :func:`encode`.
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

import msgspec

from streamer.errors import EventError

SCHEMA_VERSION = 1
MAX_ID_LENGTH = 256
MAX_WORD_LENGTH = 64
SAFE_INTEGER = 2**53  # beyond it JSON readers that hold numbers as doubles disagree

EventType = Literal["interaction", "impression", "item"]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Word = Annotated[str, msgspec.Meta(max_length=MAX_WORD_LENGTH)]
TimeMs = Annotated[int, msgspec.Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]

REQUIRED: dict[str, tuple[str, ...]] = {
    "interaction": ("user_id", "item_id", "action"),
    "impression": ("user_id", "impression_id", "items"),
    "item": ("item_id",),
}

REASONS = (
    "malformed_json",
    "wrong_type",
    "missing_field",
    "unknown_type",
    "unsupported_version",
    "time_out_of_range",
    "too_large",
    "slate_too_large",
    "empty_slate",
    "duplicate_items",
    "length_mismatch",
    "nan_value",
    "empty_id",
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the door lets in; the settings group ``events`` has the same names and defaults."""

    earliest_event_time_ms: int = 631_152_000_000  # 1990-01-01
    future_tolerance_seconds: float = 300.0
    max_event_bytes: int = 262_144
    max_slate: int = 1_000


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One event, as in docs/events.md. Times are milliseconds since 1970, UTC.

    Read events with :func:`decode`: the struct by itself refuses unknown fields, which ``decode`` moves to ``extra``.
    """

    event_id: Id
    type: EventType
    event_time_ms: TimeMs
    schema_version: int = SCHEMA_VERSION
    user_id: Id | None = None
    session_id: Id | None = None
    item_id: Id | None = None
    action: Word | None = None
    value: float | None = None
    surface: Word | None = None
    query: str | None = None
    source_item_id: Id | None = None
    impression_id: Id | None = None
    # impressions: the slate in order, and, where the server made it, what it knew at that moment
    items: list[Id] | None = None
    propensities: list[float] | None = None
    model_version: str | None = None
    source_scores: list[list[float]] | None = None  # [slate, sources]
    context_features: list[float] | None = None
    # items: the catalogue
    title: str | None = None
    categories: list[str] | None = None
    price: float | None = None
    published_time_ms: TimeMs | None = None
    available: bool | None = None
    extra: dict[str, Any] = {}


_FIELDS = tuple(field for field in msgspec.structs.fields(Event) if field.name != "extra")
KNOWN_FIELDS = frozenset(field.name for field in _FIELDS)
# The same fields, but deaf to unknown ones: the second try, only for events that carry some.
_Wire = msgspec.defstruct(
    "Event", [(f.name, f.type) if f.required else (f.name, f.type, f.default) for f in _FIELDS], kw_only=True
)

_event_decoder = msgspec.json.Decoder(Event)
_wire_decoder = msgspec.json.Decoder(_Wire)
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()
_DEFAULT_LIMITS = Limits()


def decode(raw: bytes, limits: Limits | None = None, now_ms: int | None = None) -> Event:
    r"""Read one event and check it: the only door into the system.

    Parameters
    ----------
    raw
        One JSON object in UTF-8.
    limits
        What is let in; None takes the defaults.
    now_ms
        The clock for "from the future"; None reads it.

    Raises
    ------
    EventError
        For anything else than a good event, whatever the bytes; ``reason`` is one of :data:`REASONS`.

    Examples
    --------
    >>> decode(b'{"event_id":"e1","type":"item","item_id":"i1","event_time_ms":874724710000,"shelf":3}').extra
    {'shelf': 3}
    >>> decode(b'{"event_id":"e1","type":"interaction","event_time_ms":874724710000}')
    Traceback (most recent call last):
    streamer.errors.EventError: an event of type interaction needs user_id
    """
    limits = limits or _DEFAULT_LIMITS
    if len(raw) > limits.max_event_bytes:
        raise EventError("too_large", f"the event has {len(raw)} bytes, at most {limits.max_event_bytes} are allowed")
    try:
        event = _parse(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _refuse(raw, error)
    _check(event, limits, now_ms)
    return event


def validate(event: Event, limits: Limits | None = None, now_ms: int | None = None) -> bytes:
    """Check an event that was built in Python against everything that :func:`decode` checks; returns its JSON bytes.

    Raises
    ------
    EventError
        As :func:`decode` does.

    Examples
    --------
    >>> validate(Event(event_id="e1", type="item", item_id="i1", event_time_ms=874724710000, price=float("nan")))
    Traceback (most recent call last):
    streamer.errors.EventError: price holds NaN or an infinity; leave the field out where nothing is known
    """
    for name in ("value", "price", "propensities", "source_scores", "context_features"):
        if not _is_finite(getattr(event, name)):
            message = f"{name} holds NaN or an infinity; leave the field out where nothing is known"
            raise EventError("nan_value", message)
    raw = encode(event)
    decode(raw, limits, now_ms)
    return raw


def encode(event: Event) -> bytes:
    """JSON bytes of an event: one flat object, defaults left out, ``extra`` beside the fields of the schema.

    Examples
    --------
    >>> encode(Event(event_id="e1", type="item", item_id="i1", event_time_ms=5, extra={"shelf": 3}))
    b'{"event_id":"e1","type":"item","event_time_ms":5,"item_id":"i1","shelf":3}'
    """
    if not event.extra:
        return _encoder.encode(event)
    fields: dict[str, Any] = msgspec.to_builtins(event)
    del fields["extra"]
    unknown = {name: value for name, value in event.extra.items() if name not in KNOWN_FIELDS}
    return _encoder.encode(fields | unknown)


def json_schema() -> dict[str, Any]:
    """Return the contract as a JSON Schema (draft 2020-12), as published in docs/events.md.

    Limits that are settings (size, slate, time) are not in it.
    """
    schema: dict[str, Any] = msgspec.json.schema(_Wire)["$defs"]["Event"]
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION, "default": SCHEMA_VERSION}
    schema["properties"]["items"]["anyOf"][0] |= {"minItems": 1, "uniqueItems": True}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Headwater event"}
    del schema["title"]
    return head | schema | {"allOf": [_schema_rule(kind, names) for kind, names in REQUIRED.items()]}


def _schema_rule(kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    # msgspec writes an optional field as "anyOf [..., null]"; here it has to be there.
    allowed = {name: {"type": "array"} if name == "items" else {"type": "string", "minLength": 1} for name in names}
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"required": list(names), "properties": allowed},
    }


def _parse(raw: bytes) -> Event:
    try:
        event = _event_decoder.decode(raw)
    except msgspec.ValidationError:
        return _parse_with_unknown_fields(raw)
    # A client's own field named "extra" is an unknown field like any other.
    return _parse_with_unknown_fields(raw) if b'"extra"' in raw else event


def _parse_with_unknown_fields(raw: bytes) -> Event:
    known = msgspec.structs.asdict(_wire_decoder.decode(raw))
    every = _object_decoder.decode(raw)
    return Event(**known, extra={name: value for name, value in every.items() if name not in KNOWN_FIELDS})


def _check(event: Event, limits: Limits, now_ms: int | None) -> None:
    if event.schema_version != SCHEMA_VERSION:
        message = f"schema_version {event.schema_version} is unknown here, {SCHEMA_VERSION} is allowed"
        raise EventError("unsupported_version", message)
    for name in REQUIRED[event.type]:
        if getattr(event, name) in (None, ""):
            raise EventError("missing_field", f"an event of type {event.type} needs {name}")
    _check_time(event.event_time_ms, limits, now_ms)
    if event.items is not None:
        _check_slate(event, event.items, limits)


def _check_time(event_time_ms: int, limits: Limits, now_ms: int | None) -> None:
    if now_ms is None:
        now_ms = int(time.time() * 1_000)
    latest_ms = now_ms + int(limits.future_tolerance_seconds * 1_000)
    if not limits.earliest_event_time_ms <= event_time_ms <= latest_ms:
        raise EventError(
            "time_out_of_range",
            f"event_time_ms {event_time_ms} lies outside {limits.earliest_event_time_ms}..{latest_ms}; "
            "times are milliseconds since 1970, UTC",
        )


def _check_slate(event: Event, slate: list[str], limits: Limits) -> None:
    if not slate:
        raise EventError("empty_slate", "items is empty: an impression that showed nothing is not an event")
    if len(slate) > limits.max_slate:
        raise EventError("slate_too_large", f"items has {len(slate)} entries, at most {limits.max_slate} are allowed")
    if len(set(slate)) < len(slate):
        raise EventError("duplicate_items", "items names an item twice, so clicks could not be told apart by position")
    for name in ("propensities", "source_scores"):
        values = getattr(event, name)
        if values is not None and len(values) != len(slate):
            raise EventError("length_mismatch", f"{name} has {len(values)} entries for {len(slate)} items")


def _is_finite(value: float | list[Any] | None) -> bool:
    if isinstance(value, list):
        plain = set(map(type, value)) <= {float, int}
        return all(map(math.isfinite if plain else _is_finite, value))
    return value is None or math.isfinite(value)


_REASON_OF_MESSAGE = (
    (re.compile(r"missing required field"), "missing_field"),
    (re.compile(r"Invalid enum value .*\$\.type"), "unknown_type"),
    (re.compile(r"`str` of length >= "), "empty_id"),
    (re.compile(r"`str` of length <= "), "too_large"),
    (re.compile(r"`int` [<>]= "), "time_out_of_range"),
    (re.compile(r"out of range"), "nan_value"),
)


def _refuse(raw: bytes, error: Exception) -> NoReturn:
    """Turn what the JSON library said into a reason and a message of the contract."""
    if isinstance(error, msgspec.ValidationError):
        message = str(error).replace("`", "")
        found = (reason for pattern, reason in _REASON_OF_MESSAGE if pattern.search(str(error)))
        raise EventError(next(found, "wrong_type"), message) from None
    if _has_nan_literal(raw):
        message = "JSON has no NaN or Infinity; leave the field out where nothing is known"
        raise EventError("nan_value", message) from None
    raise EventError("malformed_json", f"not one JSON object in UTF-8: {error}") from None


def _has_nan_literal(raw: bytes) -> bool:
    found: list[str] = []
    try:
        json.loads(raw, parse_constant=found.append)
    except (ValueError, RecursionError):
        return False
    return bool(found)
