"""What the stream knows of one user: the record that workers write, Feast carries and the server reads."""

from __future__ import annotations

import msgspec


class UserState(msgspec.Struct, kw_only=True):
    """One user's durable record. Arrays run oldest first, in event-time order; times are milliseconds.

    ``families`` holds, for each feature family, its flat state (see :mod:`feature_store.families`): numbers that can be
    decayed to any later moment, so that a reader needs nothing but this record and a clock.
    """

    user_id: str
    item_ids: list[str] = []
    actions: list[str] = []
    event_times_ms: list[int] = []
    seen_item_ids: list[str] = []  # distinct items interacted with, oldest first, bounded
    session_id: str | None = None
    session_number: int = 0
    session_length: int = 0  # events in the current session so far
    session_started_ms: int = 0
    watermark_ms: int = 0  # the largest event time seen
    total_events: int = 0
    late_events: int = 0
    last_event_id: str | None = None
    last_published_ms: int = 0  # broker timestamp of the last event applied
    families: dict[str, dict[str, float]] = {}


class ItemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue says of one item (from ``headwater.items``)."""

    item_id: str
    title: str = ""
    categories: list[str] = []
    price: float | None = None
    published_time_ms: int | None = None
    available: bool = True
