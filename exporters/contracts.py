"""The seams of the server: what it needs from the rest of Headwater. In-memory twins are in ``exporters.twins``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What the feature store knows of a user at one moment. Arrays run oldest first; times are milliseconds.

    ``moment_ms`` is that moment; a store that leaves it out means the one that was asked for.
    """

    user_id: str
    item_ids: list[str]
    actions: list[str]
    event_times_ms: list[int]
    seen_item_ids: list[str]
    session_id: str | None
    session_length: int
    last_event_id: str | None
    last_published_ms: int
    features: NDArray[np.float32]  # [F] at the moment
    feature_names: tuple[str, ...]
    raw: dict[str, Any] = field(default_factory=dict)
    moment_ms: int | None = None


class SessionStore(Protocol):
    """Reads one user; unknown users give an empty session, never an error."""

    @property
    def remote(self) -> bool:
        """Whether a read may wait for another machine."""
        ...

    def read(self, user_id: str, now_ms: int) -> Session:
        """Read the user's session with its features computed for ``now_ms``."""
        ...


class EventDoor(Protocol):
    """Checks events and publishes them: the same validation as the worker's."""

    async def accept(self, raw: bytes) -> tuple[str, str | None, str | None]:
        """Publish one event. Returns (event_id, None, None), or ("", reason, message) when it was turned away."""
        ...

    async def publish_impression(self, impression: dict[str, Any]) -> None:
        """Publish the impression that the server itself made."""
        ...
