"""Sessions as a server reads them: records of the online store, turned into what the ranker wants."""

from __future__ import annotations

import numpy as np

from exporters.contracts import Session
from exporters.errors import StoreUnavailable
from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from feature_store.vectors import NAMES, user_vector


class FeastSessions:
    """Sessions out of the online store; features are computed for the moment that is asked for.

    Parameters
    ----------
    store
        The store; None until it has been opened.
    """

    def __init__(self, store: OnlineStore | None = None) -> None:
        self.store = store

    @property
    def remote(self) -> bool:
        """Whether a read may wait for another machine."""
        return self.store is not None and self.store.remote

    def read(self, user_id: str, now_ms: int) -> Session:
        """Read the user's session with its features computed for ``now_ms``.

        Raises
        ------
        StoreUnavailable
            The store has not been opened yet.
        """
        if self.store is None:
            raise StoreUnavailable("the online store has not been opened yet")
        return session_of(self.store.read(user_id) or UserState(user_id=user_id), now_ms)


def settled_ms(now_ms: int, last_ms: int) -> int:
    """Moment for which a session is read: now, or up to a thirty-second of the time since its last event before.

    So two lists that are asked for shortly after each other are made from the same inputs, and what was computed for
    the first one serves the second. The ranker reads ages as logarithms, which tell such moments apart by 0.003.

    Examples
    --------
    >>> [settled_ms(1_000_000 + age, 1_000_000) - 1_000_000 for age in (0, 300, 5_000, 5_100, 3_600_000)]
    [0, 256, 4864, 4864, 3538944]
    >>> settled_ms(5, 1_000)
    5
    """
    age_ms = now_ms - last_ms
    if age_ms < 0:
        return now_ms
    step_bits = max(8, age_ms.bit_length() - 6)  # a quarter of a second at least
    return last_ms + (age_ms >> step_bits << step_bits)


def session_of(state: UserState, now_ms: int) -> Session:
    """Turn a record into what the server reads.

    >>> session_of(UserState(user_id="u"), 0).features[0]
    np.float32(1.0)
    """
    moment_ms = settled_ms(now_ms, state.watermark_ms)
    return Session(
        user_id=state.user_id,
        item_ids=state.item_ids,
        actions=state.actions,
        event_times_ms=state.event_times_ms,
        seen_item_ids=state.seen_item_ids,
        session_id=state.session_id,
        session_length=state.session_length,
        last_event_id=state.last_event_id,
        last_published_ms=state.last_published_ms,
        features=user_vector(state, moment_ms).astype(np.float32, copy=False),
        feature_names=NAMES,
        raw={"watermark_ms": state.watermark_ms, "families": state.families, "total_events": state.total_events},
        moment_ms=moment_ms,
    )
