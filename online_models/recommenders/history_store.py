"""Newest events of every user in memory of a fixed size: what a micro-batch adds to, and what is replayed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.bucketing import of_columns, target_weights
from online_models.evaluation.interactions import Histories, Interactions, Rows
from online_models.sequences import Sequences


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Histories of U users side by side, right-aligned, 0 in front."""

    items: Rows  # [U, W]
    actions: Rows  # [U, W]
    times_seconds: NDArray[np.float64]  # [U, W]
    users: Rows  # [U]

    def sequences(self, targets: Rows | None = None) -> Sequences:
        """As a batch whose newest ``targets`` [U] events are to be learnt; all but the first where None."""
        weights = target_weights(self.items, targets)
        return of_columns(self.items, self.actions, self.times_seconds, weights, self.users, self.times_seconds[:, -1])

    def cut(self, users: Rows, ends: Rows | int, width: int) -> Columns:
        """Take the ``width`` events before column ``ends`` (exclusive) of some users."""
        places = np.broadcast_to(np.asarray(ends), users.shape)[:, None] + np.arange(-width, 0)  # [U, width]
        rows = users[:, None]
        return Columns(
            items=np.where(places < 0, 0, self.items[rows, places]),
            actions=np.where(places < 0, 0, self.actions[rows, places]),
            times_seconds=np.where(places < 0, 0, self.times_seconds[rows, places]),
            users=self.users[users],
        )


class HistoryStore:
    """Keeps the newest ``width`` events of users; two users whose numbers meet in one slot take turns.

    Parameters
    ----------
    users
        Users to keep; each has a slot of its own up to ``most_users``.
    width
        Events of each.
    most_users
        Bound of the memory.
    """

    def __init__(self, users: int, width: int, most_users: int = 100_000) -> None:
        slots = max(min(users, most_users), 1)
        self.columns = Columns(
            items=np.zeros((slots, width), np.int64),
            actions=np.zeros((slots, width), np.int64),
            times_seconds=np.zeros((slots, width)),
            users=np.zeros(slots, np.int64),
        )
        self.lengths = np.zeros(slots, np.int64)

    def extend(self, events: Interactions, histories: Histories) -> tuple[Columns, Rows]:
        """Put down what users have seen at the end of a micro-batch.

        Parameters
        ----------
        events
            E events in stream order.
        histories
            What was known before each of them: E.

        Returns
        -------
        tuple
            The U users' newest events, and how many of these are of the micro-batch. [U].
        """
        users, from_end, new = np.unique(events.users[::-1], return_index=True, return_counts=True)
        last = len(events) - 1 - from_end  # [U] place of each user's newest event
        before = histories.take(last)
        newest = followed(before, events.take(last), self.columns.items.shape[1])
        slots = users % len(self.lengths)
        for name in ("items", "actions", "times_seconds", "users"):
            getattr(self.columns, name)[slots] = getattr(newest, name)
        self.lengths[slots] = np.minimum(before.lengths + 1, newest.items.shape[1])
        return newest, new

    def draw(self, targets: int, width: int, random: np.random.Generator) -> Columns:
        """Draw windows of ``width`` events that hold about so many targets, each stored target as likely as another."""
        return self.draw_windows(max(round(targets / max(self._mean_targets(width), 1.0)), 1), width, random)

    def draw_windows(self, number: int, width: int, random: np.random.Generator) -> Columns:
        """Draw so many windows of ``width`` events with replacement; none while nothing is stored."""
        chances = self._windows(width).cumsum()  # [S]
        if chances[-1] == 0:
            return self.columns.cut(np.zeros(0, np.int64), 0, width)
        slots = np.searchsorted(chances, random.random(number) * chances[-1], side="right")  # [number]
        hidden = np.maximum(self.lengths[slots] - width, 0)  # how far a window can be moved into the past
        ends = self.columns.items.shape[1] - random.integers(hidden + 1)
        return self.columns.cut(slots, ends, width)

    def _windows(self, width: int) -> NDArray[np.float64]:
        """How many windows a history fills: at least 1, or its targets would come more often than others'. [S]."""
        targets = self.lengths - 1
        return np.where(targets > 0, np.maximum(targets / (width - 1), 1.0), 0.0)

    def _mean_targets(self, width: int) -> float:
        chances = self._windows(width)  # [S]
        return float((chances * np.clip(self.lengths - 1, 0, width - 1)).sum() / max(chances.sum(), 1e-9))


def followed(histories: Histories, events: Interactions, width: int) -> Columns:
    """Histories with the event that follows each, the newest ``width`` of them."""

    def joined(column: str) -> NDArray[np.generic]:
        return np.concatenate([histories.padded(column, width - 1), getattr(events, column)[:, None]], 1)

    columns = {name: joined(name) for name in ("items", "actions", "times_seconds")}
    return Columns(users=events.users, **columns)  # type: ignore[arg-type]
