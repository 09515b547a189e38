"""The session so far: its length and its age."""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p

from feature_store.families.family import Entity
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event


@dataclass(frozen=True)
class SessionShape:
    """Log length and log age of the current session; all of it is in the user's record already.

    Examples
    --------
    >>> state = UserState(user_id="u", session_length=3, session_started_ms=1_000)
    >>> SESSION_SHAPE.value(state, 61_000)
    {'log_session_length': 0.69, 'log_session_seconds': 1.03}
    """

    name: str = "session_shape"
    entity: Entity = "session"
    fields: tuple[str, ...] = ("log_session_length", "log_session_seconds")

    def update(self, state: UserState, event: Event, item: ItemInfo | None) -> None:
        """Nothing to add: the worker keeps the session's bounds in the record itself."""

    def value(self, state: UserState, now_ms: int) -> dict[str, float]:
        """Length and age at now; 0 before the first session."""
        age_seconds = max(now_ms - state.session_started_ms, 0) / 1_000 if state.session_length else 0.0
        return {
            "log_session_length": log1p(state.session_length) / 2,
            "log_session_seconds": log1p(age_seconds) / 4,
        }


SESSION_SHAPE = SessionShape()
