"""Records of ``headwater.drift`` as a server shows them on its time line."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import Any

import msgspec

from exporters.timeline import Timeline
from streamer.drift.records import Alarm, Record, Request, decode, describe

_log = logging.getLogger(__name__)


def note_drift(timeline: Timeline, raw: bytes | None, models: Container[str]) -> None:
    """Put a record of one of these models on a time line; what cannot be read is logged and passed over."""
    try:
        record = None if raw is None else decode(raw)
    except msgspec.MsgspecError as error:
        _log.warning("a drift record cannot be read: %s", error)
        return
    found = None if record is None or record.model not in models else mark_of(record)
    if found is not None:
        timeline.note_drift(*found)


def mark_of(record: Record) -> tuple[str, dict[str, Any]] | None:
    """Return the id and the mark ``{time_ms, kind, what, state, model, text, …}``; None for a request.

    An action keeps one mark from its beginning to its end.

    >>> from streamer.drift.records import Action
    >>> mark_of(Action(id="a", model="student", kind="replay", state="ended", time_ms=5))[1]["what"]
    'replay'
    """
    if isinstance(record, Request):
        return None
    whole: dict[str, Any] = msgspec.to_builtins(record)
    kind, what = ("alarm", record.signal) if isinstance(record, Alarm) else ("action", record.kind)
    state = "" if isinstance(record, Alarm) else record.state
    fields = {"time_ms": record.time_ms, "kind": kind, "what": what, "state": state, "text": describe(record)}
    return record.id, whole | fields
