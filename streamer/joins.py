"""Impressions joined with what followed them: slates with outcomes. Pure, no Kafka.

An interaction that names an impression, or that takes an item of a slate shown to the user within the window, becomes
an example with that slate at once. A slate whose window closes without any answer becomes one example of all zeros.
The window runs in event time; where a user sends nothing more, a sweep closes it by the time of arrival.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from feature_store.user_state import UserState
from streamer.events import Event
from streamer.examples import Example
from streamer.records import PendingImpression, UserRecord

PENDING_LIMIT = 50
UNMATCHED_LIMIT = 50
NEGATIVE_ACTIONS = frozenset({"skip", "dislike", "hide", "report"})  # an answer, but not a taken item


def open_impression(record: UserRecord, draft: Example, window_ms: int) -> list[Example]:
    """Begin to wait for answers to a slate.

    Answers that came before the slate itself (events of one user may be published by two processes) are found again:
    by the impression's id, or in the history.

    Parameters
    ----------
    record
        The user's record; changed in place.
    draft
        The example that is written if nobody answers; has ``impression_id``, ``slate`` and ``outcomes``.
    window_ms
        How long after the impression an interaction still belongs to it.

    Returns
    -------
    list[Example]
        Slates given up because too many are open.
    """
    impression_id = draft.impression_id or draft.example_id
    outcomes = _taken_already(record.user, draft, window_ms)
    answered = any(outcomes)
    if impression_id in record.unmatched_impression_ids:
        record.unmatched_impression_ids.remove(impression_id)
        answered = True
    record.pending.append(
        PendingImpression(impression_id=impression_id, draft=draft, outcomes=outcomes, answered=answered)
    )
    given_up = record.pending[:-PENDING_LIMIT]
    del record.pending[:-PENDING_LIMIT]
    return _unanswered(given_up)


def join_interaction(record: UserRecord, event: Event, example: Example, window_ms: int) -> Example:
    """Add slate and outcomes to an interaction's example, where an open impression of the user fits.

    The features become those that the server logged with the impression, if it did: what was served is what is learned.
    """
    pending = _find(record, event, window_ms)
    if pending is None:
        _remember_unmatched(record, event)
        return example
    pending.answered = True
    slate = pending.draft.slate or []
    if event.item_id in slate and event.action not in NEGATIVE_ACTIONS:
        pending.outcomes[slate.index(event.item_id)] = 1
    return replace(example, **_served(pending))


def close_due(record: UserRecord, event_time_ms: int, window_ms: int) -> list[Example]:
    """Close the slates whose window has passed in event time; returns the unanswered ones."""
    return _close(record, [p for p in record.pending if p.draft.event_time_ms + window_ms < event_time_ms])


def close_arrived_before(record: UserRecord, arrived_ms: int) -> list[Example]:
    """Close the slates that arrived at or before ``arrived_ms``, broker time; returns the unanswered ones."""
    return _close(record, [p for p in record.pending if p.draft.published_time_ms <= arrived_ms])


def oldest_arrival_ms(record: UserRecord) -> int | None:
    """Return when the oldest open slate arrived, broker time; None where none is open."""
    return min((pending.draft.published_time_ms for pending in record.pending), default=None)


def _close(record: UserRecord, due: list[PendingImpression]) -> list[Example]:
    if not due:
        return []
    gone = {id(pending) for pending in due}
    record.pending = [pending for pending in record.pending if id(pending) not in gone]
    return _unanswered(due)


def _unanswered(pending: list[PendingImpression]) -> list[Example]:
    return [one.draft for one in pending if not one.answered]


def _taken_already(user: UserState, draft: Example, window_ms: int) -> list[int]:
    last_ms = draft.event_time_ms + window_ms
    taken = {
        item_id
        for item_id, action, time_ms in zip(user.item_ids, user.actions, user.event_times_ms, strict=True)
        if draft.event_time_ms <= time_ms <= last_ms and action not in NEGATIVE_ACTIONS
    }
    return [int(item_id in taken) for item_id in draft.slate or []]


def _find(record: UserRecord, event: Event, window_ms: int) -> PendingImpression | None:
    for pending in reversed(record.pending):
        if event.impression_id is not None:
            fits = pending.impression_id == event.impression_id
        else:
            fits = event.item_id in (pending.draft.slate or [])
        if fits and 0 <= event.event_time_ms - pending.draft.event_time_ms <= window_ms:
            return pending
    return None


def _remember_unmatched(record: UserRecord, event: Event) -> None:
    if event.impression_id is not None and event.impression_id not in record.unmatched_impression_ids:
        record.unmatched_impression_ids.append(event.impression_id)
        del record.unmatched_impression_ids[:-UNMATCHED_LIMIT]


def _served(pending: PendingImpression) -> dict[str, Any]:
    draft = pending.draft
    return {
        "impression_id": pending.impression_id,
        "slate": draft.slate,
        "outcomes": list(pending.outcomes),
        "propensities": draft.propensities,
        "source_scores": draft.source_scores,
        "model_version": draft.model_version,
        "features": draft.features,
    }
