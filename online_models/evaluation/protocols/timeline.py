"""Every user's events side by side, so that the history before any event is one slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.evaluation.protocols.ranking import Seen


class Timeline:
    """A log laid out by user, in stream order inside a user: histories are cut out of it and never built up.

    Parameters
    ----------
    interactions
        The log in stream order.

    Examples
    --------
    >>> from online_models.evaluation.protocols.examples import log_of
    >>> timeline = Timeline(log_of([(0, 2), (1, 3), (0, 4), (0, 2)]))
    >>> timeline.before(np.array([2, 3])).items.tolist(), timeline.earlier.tolist()
    ([2, 2, 4], [0, 0, 1, 2])
    """

    def __init__(self, interactions: Interactions) -> None:
        self._log = interactions
        self._order = order = np.argsort(interactions.users, kind="stable")  # [E] event of each place
        self._items = interactions.items[order]
        self._actions = interactions.actions[order]
        self._times = interactions.times_seconds[order]
        counts = np.bincount(interactions.users, minlength=interactions.user_count)
        self._begin = (np.cumsum(counts) - counts)[interactions.users]  # [E] first place of each event's user
        self._place = np.empty(len(order), np.int64)  # [E] place of each event
        self._place[order] = np.arange(len(order))
        key = interactions.users[order] * interactions.rows + self._items
        self._first: NDArray[np.bool_] = np.zeros(len(order), bool)  # [E] by place: the user's first of this item
        self._first[np.unique(key, return_index=True)[1]] = True
        self._no_repeat = bool(self._first.all())

    @property
    def earlier(self) -> Rows:
        """How many events of the same user lie before each event. [E]."""
        return self._place - self._begin

    @property
    def lasting(self) -> Rows:
        """How many events of the same user come after each event. [E]."""
        counts = np.bincount(self._log.users, minlength=self._log.user_count)
        return counts[self._log.users] - self.earlier - 1

    def previous(self) -> Rows:
        """Event of the same user right before each event, -1 where it is their first. [E]."""
        return np.where(self.earlier > 0, self._order[self._place - 1], -1)

    def in_session(self, gap_seconds: float) -> Rows:
        """How many events of the same user lie before each event without a longer gap between two of them. [E]."""
        places = np.arange(len(self._order))
        gaps = np.diff(self._times, prepend=np.nan)
        begins = (places == self._begin[self._order]) | (gaps > gap_seconds)  # [E] by place
        return (places - np.maximum.accumulate(np.where(begins, places, 0)))[self._place]

    def before(self, events: slice | Rows) -> Histories:
        """Cut out what was known of each event's user right before it; asked at the event's time."""
        offsets, part = self._cut(events)
        return Histories(
            offsets=offsets,
            items=self._items[part],
            actions=self._actions[part],
            times_seconds=self._times[part],
            users=self._log.users[events],
            now_seconds=self._log.times_seconds[events],
        )

    def at(self, users: Rows, events: Rows, now_seconds: NDArray[np.float64]) -> Histories:
        """Cut out what is known of users before given events of the stream, which need not be their own."""
        size = len(self._order)
        keys = self._log.users[self._order] * size + self._order  # [E] ascending
        begin, end = np.searchsorted(keys, users * size), np.searchsorted(keys, users * size + events)
        offsets, part = _ranges(begin, end)
        return Histories(
            offsets=offsets,
            items=self._items[part],
            actions=self._actions[part],
            times_seconds=self._times[part],
            users=users,
            now_seconds=now_seconds,
        )

    def seen_before(self, events: slice | Rows) -> Seen:
        """Items that each event's user had taken before it."""
        offsets, part = self._cut(events)
        one = len(offsets) == 2
        places = (
            np.zeros(offsets[1], np.int64) if one else np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        )  # [sum of lengths]
        if self._no_repeat:
            return Seen(places=places, items=self._items[part])
        first = self._first[part]
        return Seen(places=places[first], items=self._items[part][first])

    def _cut(self, events: slice | Rows) -> tuple[Rows, slice | Rows]:
        """Offsets of the histories before events, and their places in the layout."""
        begin, end = self._begin[events], self._place[events]
        if len(begin) == 1:  # a view instead of a copy: micro-batches of one event are the usual case
            return np.array([0, end[0] - begin[0]]), slice(begin[0], end[0])
        return _ranges(begin, end)


def _ranges(begin: Rows, end: Rows) -> tuple[Rows, Rows]:
    """Offsets [B + 1] of ragged ranges, and the places that they cover, one range after the other."""
    lengths = end - begin
    offsets = np.zeros(len(begin) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets, np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], lengths)
