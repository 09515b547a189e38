"""Reading bodies within their limit and turning msgspec's complaints into problems."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from exporters.asks import Ask
from exporters.limits import Limits
from exporters.problem import Problem

T = TypeVar("T")
_BODY_SECONDS = 10.0


async def read(request: Request, limit: int) -> bytes:
    """Read the body, and stop as soon as it is larger than ``limit`` bytes.

    Raises
    ------
    Problem
        413 ``too_large``, 408 ``too_slow``.
    """
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _read(request, limit)
    except TimeoutError:
        raise Problem(408, "too_slow", f"The body has not come within {_BODY_SECONDS:g} s; send it again.") from None


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdecimal() else 0
    chunks: list[bytes] = []
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
    if size > limit:
        raise Problem(
            413, "too_large", f"The body has {size} bytes or more; at most {limit} are read. Send less at once."
        )
    return b"".join(chunks)


async def decode(request: Request, kind: type[T], limit: int) -> T:
    """Read and check a JSON body.

    Raises
    ------
    Problem
        413 ``too_large``, 400 ``malformed_json``, 422 ``wrong_type``.
    """
    raw = await read(request, limit)
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise Problem(422, "wrong_type", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed_json", f"The body is no JSON: {error}") from None


def check(ask: Ask, limits: Limits, now_ms: int) -> None:
    """Hold a ranking request to the limits of this server.

    Raises
    ------
    Problem
        422 with ``slate_too_long``, ``filter_too_long`` or ``time_out_of_range``.
    """
    candidates: list[str] = getattr(ask, "candidates", [])
    _at_most(len(candidates), limits.candidates, "slate_too_long", "candidates")
    _at_most(ask.count or 0, limits.results, "slate_too_long", "count")
    for name in ("allow", "deny", "categories"):
        _at_most(len(getattr(ask, name) or ()), limits.filter_items, "filter_too_long", name)
    _check_time(ask.event_time_ms, limits, now_ms)


def _at_most(given: int, allowed: int, reason: str, name: str) -> None:
    if given > allowed:
        raise Problem(422, reason, f"{name}: {given} given, at most {allowed} allowed.")


def _check_time(time_ms: int | None, limits: Limits, now_ms: int) -> None:
    latest = now_ms + int(limits.future_tolerance_ms)
    if time_ms is not None and not limits.earliest_time_ms <= time_ms <= latest:
        raise Problem(
            422,
            "time_out_of_range",
            f"event_time_ms: {time_ms} given, allowed are {limits.earliest_time_ms} to {latest}"
            " (milliseconds since 1970, no later than now).",
        )


def json(document: Any, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(msgspec.json.encode(document), status, media_type="application/json")
