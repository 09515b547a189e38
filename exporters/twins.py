"""In-memory twins of the server's seams. Not for production: they die with their process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from exporters.contracts import Session


def empty_session(user_id: str, feature_count: int = 3) -> Session:
    """Session of a user whom nobody has seen; feature 0 is the constant 1.

    >>> empty_session("u").features.tolist()
    [1.0, 0.0, 0.0]
    """
    features = np.zeros(feature_count, np.float32)
    features[0] = 1
    return Session(
        user_id=user_id,
        item_ids=[],
        actions=[],
        event_times_ms=[],
        seen_item_ids=[],
        session_id=None,
        session_length=0,
        last_event_id=None,
        last_published_ms=0,
        features=features,
        feature_names=("bias", *(f"feature_{place}" for place in range(1, feature_count))),
    )


class MemorySessions:
    """Sessions in a dictionary, fed by :meth:`apply`; read as if they lay on another machine."""

    remote = True

    def __init__(self, feature_count: int = 3) -> None:
        self.feature_count = feature_count
        self.sessions: dict[str, Session] = {}

    def read(self, user_id: str, now_ms: int) -> Session:
        """Read the user's session."""
        return self.sessions.get(user_id) or empty_session(user_id, self.feature_count)

    def apply(self, event: dict[str, Any], published_ms: int) -> None:
        """Add one interaction to its user's session."""
        old = self.read(event["user_id"], published_ms)
        self.sessions[event["user_id"]] = replace(
            old,
            item_ids=[*old.item_ids, event["item_id"]],
            actions=[*old.actions, event.get("action") or "view"],
            event_times_ms=[*old.event_times_ms, event["event_time_ms"]],
            seen_item_ids=[*old.seen_item_ids, event["item_id"]],
            session_id="s1",
            session_length=old.session_length + 1,
            last_event_id=event["event_id"],
            last_published_ms=published_ms,
        )


class MemoryDoor:
    """Keeps what was published; interactions go straight into the given sessions."""

    def __init__(self, sessions: MemorySessions | None = None) -> None:
        self.sessions = sessions
        self.events: list[dict[str, Any]] = []
        self.impressions: list[dict[str, Any]] = []

    async def accept(self, raw: bytes) -> tuple[str, str | None, str | None]:
        """Take any JSON object that has an ``event_id``; the real door checks far more."""
        try:
            event = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError as error:
            return "", "malformed_json", str(error)
        if not event.get("event_id"):
            return "", "missing_field", "event_id is missing"
        self.events.append(event)
        if self.sessions is not None and event.get("type") == "interaction":
            self.sessions.apply(event, event["event_time_ms"])
        return event["event_id"], None, None

    async def publish_impression(self, impression: dict[str, Any]) -> None:
        """Keep it."""
        self.impressions.append(impression)
