"""Impressions whose window is still open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class OpenSlate:
    """A slate, top first, and what was taken from it so far (``outcomes``: 1 taken, 0 not)."""

    item_ids: list[str]
    outcomes: list[int]
    event_time_ms: int


class OpenSlates:
    """Joins interactions to the impressions that they answer, in event-time order.

    Parameters
    ----------
    window_ms
        How long an impression waits for answers.

    Examples
    --------
    >>> slates = OpenSlates(1_000)
    >>> slates.open("p", ["alien", "heat"], 0)
    >>> slates.answer("p", "heat")
    >>> [slate.outcomes for slate in slates.close_before(1_001)]
    [[0, 1]]
    """

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._open: dict[str, OpenSlate] = {}

    def open(self, impression_id: str, item_ids: list[str], event_time_ms: int) -> None:
        """Wait for answers to an impression; the same id again changes nothing."""
        self._open.setdefault(impression_id, OpenSlate(item_ids, [0] * len(item_ids), event_time_ms))

    def answer(self, impression_id: str | None, item_id: str) -> None:
        """Mark an item as taken; an answer to an unknown or closed impression, or to another item, is none."""
        slate = self._open.get(impression_id or "")
        if slate is not None and item_id in slate.item_ids:
            slate.outcomes[slate.item_ids.index(item_id)] = 1

    def close_before(self, event_time_ms: int) -> Iterator[OpenSlate]:
        """Hand out the slates whose window ended before ``event_time_ms``, oldest first."""
        while self._open:
            impression_id, slate = next(iter(self._open.items()))
            if slate.event_time_ms + self._window_ms >= event_time_ms:
                return
            del self._open[impression_id]
            yield slate
