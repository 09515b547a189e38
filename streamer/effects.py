"""What one batch of records changes, all of it, to be made durable in one transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from feature_store.user_state import UserState
from streamer.records import UserRecord


class Record(NamedTuple):
    """One record of the events topic, as it came."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Applied(NamedTuple):
    """How far a partition's state is.

    ``next_index`` is the first free index of a :class:`~streamer.examples.Position` at ``offset``; ``commit`` counts
    the transactions, so that two processes that hold the same partition cannot both write.
    """

    offset: int
    next_index: int
    commit: int
    published_ms: int = 0  # the largest broker timestamp applied


class Message(NamedTuple):
    """One record to produce."""

    topic: str
    key: bytes | None
    value: bytes


class LogEntry(NamedTuple):
    """One accepted event for the event log: MessagePack of the event, and where it came from."""

    offset: int
    published_ms: int
    event_time_ms: int
    event: bytes


@dataclass(kw_only=True)
class Effects:
    """Everything that a batch, or a sweep, does.

    ``before`` is the state that it was computed from: it is applied to that state or not at all.
    """

    before: Applied
    after: Applied
    records: dict[str, UserRecord] = field(default_factory=dict)
    event_ids: dict[str, int] = field(default_factory=dict)  # event_id -> broker timestamp
    messages: list[Message] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    shown_ms: float | None = None  # wall clock when the users' states reached the online store, if they have already

    @property
    def states(self) -> list[UserState]:
        """The users' states to push to the online store."""
        return [record.user for record in self.records.values()]

    @property
    def published_ms(self) -> list[int]:
        """Broker timestamps of the events that became visible."""
        return list(self.event_ids.values())
