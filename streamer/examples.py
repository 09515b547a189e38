"""Labelled examples: what the worker writes and every learner reads.

One example is one decision seen from afterwards: the context as it was just before, the item that was taken and,
where an impression was logged, the whole slate with its outcomes.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Where in the events topic an example comes from; within a partition positions only grow.

    A learner that keeps the last position it has applied for each partition can skip what reaches it twice.

    >>> Position(0, 7, 1) > Position(0, 7, 0) > Position(0, 6, 5)
    True
    """

    partition: int
    offset: int
    index: int = 0


class History(msgspec.Struct, frozen=True):
    """A user's latest interactions just before the decision, oldest first, in event-time order."""

    item_ids: list[str]
    actions: list[str]
    event_times_ms: list[int]


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One labelled example on ``headwater.examples`` (JSON, keyed by user_id).

    ``kind`` is ``interaction`` (``item_id`` was taken; ``slate`` is there when the interaction named an impression)
    or ``impression`` (a slate whose window closed without any interaction: all outcomes 0).
    """

    example_id: str
    kind: Literal["interaction", "impression"]
    source: Position
    user_id: str
    event_time_ms: int
    published_time_ms: int  # broker timestamp of the event that caused the example: freshness is measured from here
    history: History
    session_length: int  # events of the current session before this one
    features: list[float]  # [F] feature_store.vectors.NAMES, as they were before this event
    session_id: str | None = None
    item_id: str | None = None
    action: str | None = None
    value: float | None = None
    surface: str | None = None
    query: str | None = None
    source_item_id: str | None = None
    late: bool = False
    impression_id: str | None = None
    slate: list[str] | None = None
    outcomes: list[int] | None = None  # [slate] 1 where the user interacted inside the window
    propensities: list[float] | None = None
    source_scores: list[list[float]] | None = None  # [slate, sources] as served
    model_version: str | None = None


def encode(example: Example) -> bytes:
    """JSON bytes of an example."""
    return msgspec.json.encode(example)


def decode(raw: bytes) -> Example:
    """Read an example back; raises ``msgspec.ValidationError`` on anything else."""
    return _decoder.decode(raw)


_decoder = msgspec.json.Decoder(Example)
