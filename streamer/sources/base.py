"""What every source of events offers, and the table of interactions that most data sets are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.events import Event

Strings = NDArray[np.object_]
Times = NDArray[np.int64]


class Source(Protocol):
    """Events and the catalogue that they speak of.

    ``items()`` and ``events()`` start anew on each call, always give the same events with the same ``event_id`` s, and
    are each in order of event time (ties keep the order of the file). An item's event lies before the first
    interaction with it.
    """

    @property
    def name(self) -> str:
        """Short name, the first part of every ``event_id``."""

    @property
    def description(self) -> str:
        """One line for people: what it is, where it comes from, what is special."""

    @property
    def simulated(self) -> bool:
        """Whether the events are made up."""

    @property
    def event_count(self) -> int:
        """How many events :meth:`events` gives."""

    def items(self) -> Iterator[Event]:
        """Catalogue: events of type ``item``."""

    def events(self) -> Iterator[Event]:
        """Interactions and impressions."""


@dataclass(frozen=True)
class InteractionLog:
    """Columns of a table of interactions, in order of time; ``rows`` are the line numbers in the file."""

    rows: NDArray[np.int64]  # [n]
    user_ids: Strings  # [n]
    item_ids: Strings  # [n]
    event_times_ms: Times  # [n]
    values: NDArray[np.float64] | None = None  # [n]

    @classmethod
    def in_order(
        cls,
        user_ids: Any,
        item_ids: Any,
        times_seconds: Any,
        values: Any = None,
        tie_breaker: Any = None,
    ) -> InteractionLog:
        """Sort by time, then by ``tie_breaker`` where there is one, then by row.

        Examples
        --------
        >>> log = InteractionLog.in_order([1, 2], [7, 8], [20, 10])
        >>> log.user_ids.tolist(), log.rows.tolist()
        (['2', '1'], [1, 0])
        """
        times = np.asarray(times_seconds, dtype=np.int64)
        rows = np.arange(len(times))
        order = np.lexsort((rows, times) if tie_breaker is None else (rows, np.asarray(tie_breaker), times))
        return cls(
            rows=order,
            user_ids=_as_strings(user_ids)[order],
            item_ids=_as_strings(item_ids)[order],
            event_times_ms=times[order] * 1_000,
            values=None if values is None else np.asarray(values, dtype=np.float64)[order],
        )

    def first_seen_ms(self) -> dict[str, int]:
        """Each item's first event time."""
        backwards = zip(reversed(self.item_ids), reversed(self.event_times_ms), strict=True)
        return {item_id: int(time_ms) for item_id, time_ms in backwards}


@dataclass(frozen=True)
class CatalogueEntry:
    """What a data set says about an item."""

    item_id: str
    title: str | None = None
    categories: list[str] = field(default_factory=list)
    price: float | None = None
    published_time_ms: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TableSource:
    """A source whose events are one table of interactions."""

    name: str
    description: str
    log: InteractionLog
    entries: list[CatalogueEntry]
    action: str = "rating"
    limit: int | None = None
    simulated: bool = False

    @property
    def event_count(self) -> int:
        """Rows, or the limit where that is smaller."""
        return len(self.log.rows) if self.limit is None else min(self.limit, len(self.log.rows))

    def items(self) -> Iterator[Event]:
        """Give the catalogue, each item from the moment on at which it was published."""
        return iter(self._catalogue)

    def events(self) -> Iterator[Event]:
        """One interaction a row."""
        log = self.log
        for index in range(self.event_count):
            yield Event(
                event_id=f"{self.name}:{log.rows[index]}",
                type="interaction",
                event_time_ms=int(log.event_times_ms[index]),
                user_id=log.user_ids[index],
                item_id=log.item_ids[index],
                action=self.action,
                value=None if log.values is None else float(log.values[index]),
            )

    @cached_property
    def _catalogue(self) -> list[Event]:
        return catalogue(self.name, self.entries, self.log.first_seen_ms(), int(self.log.event_times_ms[0]))


def catalogue(
    name: str, entries: Iterable[CatalogueEntry], first_seen_ms: dict[str, int], start_ms: int
) -> list[Event]:
    """Item events in order of time.

    An item enters when it was published, but neither before the stream begins nor after its own first interaction
    (release dates in data sets are now and then later than the first rating).
    """
    timed = [(_entry_time(entry, first_seen_ms, start_ms), entry) for entry in entries]
    timed.sort(key=lambda pair: pair[0])
    return [item_event(name, entry, time_ms) for time_ms, entry in timed]


def _entry_time(entry: CatalogueEntry, first_seen_ms: dict[str, int], start_ms: int) -> int:
    published_ms = start_ms if entry.published_time_ms is None else max(start_ms, entry.published_time_ms)
    return min(published_ms, first_seen_ms.get(entry.item_id, published_ms))


def item_event(name: str, entry: CatalogueEntry, time_ms: int) -> Event:
    """Return the event by which an item enters the catalogue at ``time_ms``."""
    return Event(
        event_id=f"{name}:item:{entry.item_id}",
        type="item",
        event_time_ms=time_ms,
        item_id=entry.item_id,
        title=entry.title,
        categories=entry.categories or None,
        price=entry.price,
        published_time_ms=entry.published_time_ms,
        extra=entry.extra,
    )


def _as_strings(values: Any) -> Strings:
    return np.array([str(value) for value in values], dtype=object)
