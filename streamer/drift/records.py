"""What is written to ``headwater.drift``: alarms, actions and requests, as JSON."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

ActionState = Literal["started", "ended", "reverted", "dry-run", "refused"]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one side of a change."""

    examples: int
    mean: float
    deviation: float = 0.0


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """One thing whose share or level differs between the two sides."""

    kind: Literal["category", "surface", "feature"]
    name: str
    before: float
    after: float


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="alarm"):
    """What moved, since when, and the evidence.

    Examples are counted as the student has learnt them; ``since_ms`` and ``until_ms`` are event times.
    """

    id: str
    model: str
    signal: str
    detector: str
    since_example: int
    until_example: int
    since_ms: int
    until_ms: int
    statistic: float
    before: Window
    after: Window
    moved: list[Moved] = []
    time_ms: int = 0

    @property
    def text(self) -> str:
        """One sentence for a log line."""
        before, after = self.before, self.after
        return (
            f"{self.signal} moved from {before.mean:.4g} to {after.mean:.4g} since example {self.since_example}"
            f" ({self.detector}; {before.examples} examples before, {after.examples} after)"
        )


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="action"):
    """What was done about an alarm, or undone, or would have been done."""

    id: str
    model: str
    kind: str
    state: ActionState
    alarm: str = ""
    amount: float = 0.0
    from_example: int = 0
    until_example: int = 0  # 0: nothing to take back by itself
    reason: str = ""
    time_ms: int = 0


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="request"):
    """A wish of an operator to the trainer of a model: take back an action, or begin one."""

    model: str
    wish: Literal["revert", "start"]
    subject: str  # an action's id to take back, or the kind of action to begin
    reason: str = ""
    time_ms: int = 0


Record = Alarm | Action | Request
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """JSON bytes of a record."""
    return msgspec.json.encode(record)


def decode(raw: bytes) -> Record:
    """Read a record back; raises ``msgspec.ValidationError`` on anything else.

    >>> decode(encode(Request(model="student", wish="revert", subject="replay-1"))).subject
    'replay-1'
    """
    found: Record = _decoder.decode(raw)
    return found


def identity(*parts: object) -> str:
    """Make an id of what a record is about: the same record written twice has the same id.

    >>> identity("student", "loss", 700) == identity("student", "loss", 700)
    True
    """
    text = ":".join(str(part) for part in parts)
    return f"{parts[1]}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def describe(record: Record) -> str:
    """One line of a record for a log or a terminal.

    >>> describe(Request(model="student", wish="revert", subject="replay-1"))
    'request to student: revert replay-1'
    """
    if isinstance(record, Alarm):
        moved = ", ".join(f"{one.name} {one.before:g} -> {one.after:g}" for one in record.moved[:4])
        return f"alarm {record.id} of {record.model}: {record.text}" + (f"; most moved: {moved}" if moved else "")
    if isinstance(record, Request):
        return f"request to {record.model}: {record.wish} {record.subject}"
    until = f" until example {record.until_example}" if record.until_example and record.state == "started" else ""
    return f"action {record.id} of {record.model}: {record.kind} {record.state}{until} ({record.reason})"
