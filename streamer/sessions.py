"""From events to sessions: one user's record after one more event. Pure, no Kafka.

A session ends where the next event comes more than a gap later, or names another ``session_id``. The history is
bounded and always in event-time order: an event that arrives behind the user's watermark is merged at its place and
counted as late.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from feature_store.user_state import UserState
from streamer.events import Event
from streamer.examples import History
from streamer.settings import Sessions

MILLISECONDS = 1_000


@dataclass(frozen=True)
class Outcome:
    """What one event did to the sessions of its user."""

    late: bool
    new_session: bool
    session_id: str | None  # None: a session that is over and whose name is not known
    session_length_before: int


def apply(state: UserState, event: Event, published_ms: int, settings: Sessions) -> Outcome:
    """Fold one event of the user into ``state``.

    Impressions keep a session open and count in ``total_events``; ``session_length`` and the history count
    interactions only, so the last ``session_length`` entries of the history are the session.

    Parameters
    ----------
    state
        The user's record; changed in place.
    event
        An interaction or an impression of this user.
    published_ms
        Broker timestamp of the event.
    settings
        Gap and bounds.

    Examples
    --------
    >>> state = UserState(user_id="u")
    >>> for minute in (0, 1, 45):
    ...     click = Event(event_id=str(minute), type="interaction", user_id="u", item_id=f"i{minute}", action="view",
    ...                   event_time_ms=10**12 + minute * 60_000)
    ...     _ = apply(state, click, 0, Sessions())
    >>> state.session_number, state.session_length, state.item_ids
    (2, 1, ['i0', 'i1', 'i45'])
    """
    late = event.event_time_ms < state.watermark_ms
    outcome = _place_late(state, event, settings) if late else _place_in_order(state, event, settings)
    if event.type == "interaction" and event.item_id is not None:
        _remember(state, event, event.item_id, settings)
        if outcome.session_id == state.session_id:
            state.session_length += 1
    state.watermark_ms = max(state.watermark_ms, event.event_time_ms)
    state.total_events += 1
    state.late_events += late
    state.last_event_id = event.event_id
    state.last_published_ms = published_ms
    return outcome


def history_before(state: UserState, event_time_ms: int) -> History:
    """Copy the part of the history that is not younger than ``event_time_ms``.

    >>> state = UserState(user_id="u", item_ids=["a", "b"], actions=["view", "view"], event_times_ms=[5, 9])
    >>> history_before(state, 7).item_ids
    ['a']
    """
    end = bisect_right(state.event_times_ms, event_time_ms)
    return History(state.item_ids[:end], state.actions[:end], state.event_times_ms[:end])


def _place_in_order(state: UserState, event: Event, settings: Sessions) -> Outcome:
    fresh = _starts_session(state, event, settings)
    if fresh:
        state.session_number += 1
        state.session_id = event.session_id or f"{state.user_id}:{state.session_number}"
        state.session_length = 0
        state.session_started_ms = event.event_time_ms
    return Outcome(False, fresh, state.session_id, state.session_length)


def _starts_session(state: UserState, event: Event, settings: Sessions) -> bool:
    if state.session_id is None:
        return True
    if event.session_id is not None:
        return event.session_id != state.session_id
    return event.event_time_ms - state.watermark_ms > settings.gap_seconds * MILLISECONDS


def _place_late(state: UserState, event: Event, settings: Sessions) -> Outcome:
    if event.session_id is not None:
        current = event.session_id == state.session_id
    else:
        current = state.session_started_ms - event.event_time_ms <= settings.gap_seconds * MILLISECONDS
    if not current:
        return Outcome(True, False, event.session_id, 0)
    state.session_started_ms = min(state.session_started_ms, event.event_time_ms)
    younger = len(state.event_times_ms) - bisect_right(state.event_times_ms, event.event_time_ms)
    return Outcome(True, False, state.session_id, max(state.session_length - younger, 0))


def _remember(state: UserState, event: Event, item_id: str, settings: Sessions) -> None:
    index = bisect_right(state.event_times_ms, event.event_time_ms)
    state.event_times_ms.insert(index, event.event_time_ms)
    state.item_ids.insert(index, item_id)
    state.actions.insert(index, event.action or "")
    excess = len(state.item_ids) - settings.history_limit
    if excess > 0:
        del state.event_times_ms[:excess], state.item_ids[:excess], state.actions[:excess]
    if item_id in state.seen_item_ids:
        state.seen_item_ids.remove(item_id)
    state.seen_item_ids.append(item_id)
    del state.seen_item_ids[: -settings.seen_limit]
