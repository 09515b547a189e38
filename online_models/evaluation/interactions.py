"""What is evaluated on: a log of interactions in columns, and the histories that models are asked about."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
_COLUMNS = ("users", "items", "times_seconds", "actions", "values", "tested")


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Events in stream order: by time, ties in the order of the file.

    Items are catalogue rows (0 pads, 1 is unknown, items from 2), users and sessions count from 0. ``rows`` is the size
    of the catalogue with the two reserved rows, so a score vector has that length.
    """

    users: Rows  # [E]
    items: Rows  # [E]
    times_seconds: NDArray[np.float64]  # [E]
    actions: Rows  # [E] rows of the action table (see online_models.vocabulary)
    values: Floats  # [E] stars, seconds; NaN where there is none
    tested: NDArray[np.bool_]  # [E] False: learnt but never asked about (an undated history before its first date)
    rows: int
    user_count: int
    name: str = ""
    item_categories: list[tuple[int, ...]] = field(default_factory=list)  # by row; empty where nothing is known
    category_names: list[str] = field(default_factory=list)
    item_titles: list[str] = field(default_factory=list)  # by row
    item_published_seconds: NDArray[np.float64] | None = None  # [R] NaN where unknown

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.items)

    def take(self, index: Any) -> Interactions:
        """Events by slice, mask or index, in the order given; the catalogue stays."""
        part = copy(self)
        # past the frozen setter: this runs once an event, and replace() would take ten times as long
        vars(part).update({name: getattr(self, name)[index] for name in _COLUMNS})
        return part

    def digest(self) -> str:
        """Hash of users, items and times in their order: which data and which rule for ties a figure belongs to."""
        state = hashlib.sha256()
        for column in (self.users, self.items, self.times_seconds):
            state.update(np.ascontiguousarray(column).tobytes())
        return state.hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Histories:
    """What is known of B users at the moment they are asked about: ragged, oldest first.

    >>> two = Histories.of([[5, 6, 7], []], now_seconds=[30., 40.])
    >>> len(two), two.items_of(0).tolist(), two.padded("items", 2).tolist()
    (2, [5, 6, 7], [[6, 7], [0, 0]])
    """

    offsets: Rows  # [B + 1]
    items: Rows  # [offsets[-1]]
    actions: Rows  # [offsets[-1]]
    times_seconds: NDArray[np.float64]  # [offsets[-1]]
    users: Rows  # [B]
    now_seconds: NDArray[np.float64]  # [B]

    def __len__(self) -> int:
        """Return the number of users asked about."""
        return len(self.users)

    @property
    def lengths(self) -> Rows:
        """Events in each history. [B]."""
        return np.diff(self.offsets)

    def items_of(self, place: int) -> Rows:
        """Items of one history, oldest first."""
        return self.items[self.offsets[place] : self.offsets[place + 1]]

    def padded(self, column: str, length: int) -> NDArray[Any]:
        """Newest ``length`` values of "items", "actions" or "times_seconds", right-aligned, 0 in front. [B, L]."""
        values = getattr(self, column)
        laid = np.zeros((len(self), length), values.dtype)
        if len(self) == 1:
            newest = values[max(len(values) - length, 0) :]
            laid[0, length - len(newest) :] = newest
            return laid
        kept = np.minimum(self.lengths, length)  # [B]
        users = np.repeat(np.arange(len(self)), kept)
        steps = np.arange(len(users)) - np.repeat(np.cumsum(kept) - kept, kept)  # from 0 in each history
        back = np.repeat(kept, kept) - steps  # 1 is the newest
        laid[users, length - back] = values[np.repeat(self.offsets[1:], kept) - back]
        return laid

    def take(self, index: Rows) -> Histories:
        """Pick histories by index."""
        lengths = self.lengths[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.arange(offsets[-1]) + np.repeat(self.offsets[index] - offsets[:-1], lengths)
        columns = {name: getattr(self, name)[flat] for name in ("items", "actions", "times_seconds")}
        return Histories(offsets=offsets, users=self.users[index], now_seconds=self.now_seconds[index], **columns)

    @classmethod
    def of(
        cls,
        items: list[list[int]],
        *,
        now_seconds: list[float] | None = None,
        times_seconds: list[list[float]] | None = None,
        actions: list[list[int]] | None = None,
        users: list[int] | None = None,
    ) -> Histories:
        """Make histories of lists, one a user."""
        lengths = [len(history) for history in items]
        total = sum(lengths)

        def flat(lists: list[list[Any]] | None, kind: Any) -> NDArray[Any]:
            return np.zeros(total, kind) if lists is None else np.array([v for part in lists for v in part], kind)

        return cls(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=flat(items, np.int64),
            actions=flat(actions, np.int64) if actions is not None else np.ones(total, np.int64),
            times_seconds=flat(times_seconds, np.float64),
            users=np.arange(len(items)) if users is None else np.array(users, np.int64),
            now_seconds=np.zeros(len(items)) if now_seconds is None else np.array(now_seconds, np.float64),
        )
