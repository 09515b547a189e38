"""The worker's work without Kafka: records of one partition in, effects out.

Nothing is written here. :meth:`SessionPipeline.process` computes what a batch changes; the caller commits it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from feature_store import families
from feature_store.user_state import ItemInfo
from feature_store.vectors import NAMES, user_vector
from streamer import dead_letter, event_log, examples, joins, sessions, topics
from streamer.effects import Applied, Effects, LogEntry, Message, Record
from streamer.errors import EventError
from streamer.events import Event, Limits, decode
from streamer.examples import Example, History, Position
from streamer.records import UserRecord
from streamer.settings import Settings
from streamer.state import PartitionState

MILLISECONDS = 1_000


class SessionPipeline:
    """Sessions, joins, features and the log of one events partition.

    Parameters
    ----------
    partition
        Number of the partition, for positions and dead letters.
    state
        Its durable state.
    items
        What the catalogue says of each item; may grow while the pipeline runs.
    settings
        Limits, gaps and windows.
    """

    def __init__(
        self, partition: int, state: PartitionState, items: Mapping[str, ItemInfo], settings: Settings
    ) -> None:
        self.partition = partition
        self.state = state
        self._items = items
        self._settings = settings.sessions
        self._limits = Limits(**settings.events.model_dump())
        self._window_ms = int(settings.sessions.impression_window_seconds * MILLISECONDS)

    def process(self, records: Iterable[Record]) -> Effects | None:
        """Compute the effects of the records, in order; what lies at or below the applied offset is skipped.

        Returns None where nothing is new.
        """
        fresh = [record for record in records if record.offset > self.state.applied.offset]
        if not fresh:
            return None
        effects = self._begin()
        events = [(record, self._decode(record, effects)) for record in fresh]
        good = [event for _, event in events if event is not None]
        known = self.state.known_event_ids(event.event_id for event in good)
        users = self.state.load(event.user_id for event in good if event.user_id and event.event_id not in known)
        index = 0
        for record, event in events:
            index = 0 if event is None else self._take(record, event, known, users, effects)
        effects.after = self._after(fresh[-1].offset, index, max(record.timestamp_ms for record in fresh))
        return effects

    def reject(self, record: Record, error: Exception) -> Effects:
        """Pass by a record that broke the pipeline itself: it becomes a dead letter like any other bad input."""
        effects = self._begin()
        self._bury(record, error, effects)
        effects.after = self._after(record.offset, 0, record.timestamp_ms)
        return effects

    def sweep(self, now_ms: int) -> Effects | None:
        """Close slates that nobody has answered and whose window has passed by the time of their arrival.

        Parameters
        ----------
        now_ms
            The broker's clock as far as this partition has been read: the wall clock only where nothing waits,
            otherwise an answer that waits would be missed.
        """
        arrived_ms = now_ms - self._window_ms
        user_ids = self.state.users_with_impressions_before(arrived_ms)
        if not user_ids:
            return None
        effects = self._begin()
        effects.records = self.state.load(user_ids)
        closed = [one for record in effects.records.values() for one in joins.close_arrived_before(record, arrived_ms)]
        applied = self.state.applied
        written = [replace(example, published_time_ms=now_ms) for example in closed]
        index = self._write(written, applied.offset, applied.next_index, effects)
        effects.after = self._after(applied.offset, index, applied.published_ms)
        return effects

    def _begin(self) -> Effects:
        return Effects(before=self.state.applied, after=self.state.applied)

    def _after(self, offset: int, index: int, published_ms: int) -> Applied:
        before = self.state.applied
        return Applied(offset, index, before.commit + 1, max(before.published_ms, published_ms))

    def _decode(self, record: Record, effects: Effects) -> Event | None:
        try:
            return decode(record.value or b"", self._limits)
        except EventError as error:
            self._bury(record, error, effects)
            return None

    def _bury(self, record: Record, error: Exception, effects: Effects) -> None:
        letter = dead_letter.to_letter(
            error,
            record.value,
            topic=topics.EVENTS.name,
            partition=self.partition,
            offset=record.offset,
            key=record.key,
        )
        effects.messages.append(Message(topics.DEAD_LETTER.name, *dead_letter.to_record(letter)))
        effects.counters["dead_letter"] += 1
        effects.counters[f"dead_letter:{letter.reason}"] += 1

    def _take(
        self, record: Record, event: Event, known: set[str], users: Mapping[str, UserRecord], effects: Effects
    ) -> int:
        effects.counters["consumed"] += 1
        effects.counters[f"consumed:{event.type}"] += 1
        if event.event_id in known:
            effects.counters["duplicates"] += 1
            return 0
        known.add(event.event_id)
        effects.event_ids[event.event_id] = record.timestamp_ms
        effects.log.append(_log_entry(record, event))
        if event.type == "item" or event.user_id is None:  # published to the wrong topic: pass it on
            effects.messages.append(Message(topics.ITEMS.name, (event.item_id or "").encode(), record.value or b""))
            return 0
        user = effects.records[event.user_id] = users[event.user_id]
        return self._write(self._apply(user, event, record, effects), record.offset, 0, effects)

    def _apply(self, record: UserRecord, event: Event, source: Record, effects: Effects) -> list[Example]:
        user = record.user
        closed = [
            replace(example, published_time_ms=source.timestamp_ms)
            for example in joins.close_due(record, event.event_time_ms, self._window_ms)
        ]
        history = sessions.history_before(user, event.event_time_ms)
        features = self._features(record, event)
        outcome = sessions.apply(user, event, source.timestamp_ms, self._settings)
        effects.counters["late"] += outcome.late
        effects.counters["sessions"] += outcome.new_session
        example = _example(event, source, history, features, outcome)
        if event.type == "impression":
            closed += joins.open_impression(record, example, self._window_ms)
        else:
            families.update(user, event, self._items.get(event.item_id or ""))
            closed.append(joins.join_interaction(record, event, example, self._window_ms))
        return closed

    def _features(self, record: UserRecord, event: Event) -> list[float]:
        served = event.context_features
        if served is not None and len(served) == len(NAMES):
            return served
        # a late event finds a record that is younger than itself; no family can be turned back
        now_ms = max(event.event_time_ms, record.user.watermark_ms)
        features: list[float] = user_vector(record.user, now_ms).tolist()
        return features

    def _write(self, written: list[Example], offset: int, index: int, effects: Effects) -> int:
        for example in written:
            placed = replace(example, source=Position(self.partition, offset, index))
            effects.messages.append(Message(topics.EXAMPLES.name, placed.user_id.encode(), examples.encode(placed)))
            effects.counters[f"examples:{placed.kind}"] += 1
            index += 1
        return index


def _log_entry(record: Record, event: Event) -> LogEntry:
    return LogEntry(record.offset, record.timestamp_ms, event.event_time_ms, event_log.encode(event))


def _example(
    event: Event, source: Record, history: History, features: list[float], outcome: sessions.Outcome
) -> Example:
    shown: dict[str, Any] = {}
    if event.type == "impression":
        slate = event.items or []
        shown = {
            "slate": slate,
            "outcomes": [0] * len(slate),
            "propensities": event.propensities,
            "source_scores": event.source_scores,
            "model_version": event.model_version,
        }
    return Example(
        example_id=event.event_id,
        kind="impression" if event.type == "impression" else "interaction",
        source=Position(0, source.offset),
        user_id=event.user_id or "",
        event_time_ms=event.event_time_ms,
        published_time_ms=source.timestamp_ms,
        history=history,
        session_length=outcome.session_length_before,
        features=features,
        session_id=outcome.session_id,
        item_id=event.item_id,
        action=event.action,
        value=event.value,
        surface=event.surface,
        query=event.query,
        source_item_id=event.source_item_id,
        late=outcome.late,
        impression_id=event.impression_id,
        **shown,
    )
