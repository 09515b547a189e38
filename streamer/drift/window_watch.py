"""Whether a distribution has moved: the newest window against the ones before it, twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from streamer.drift.mean_watch import Shift
from streamer.drift.records import Moved, Window

Row = TypeVar("Row")
Comparison = tuple[float, list[Moved]]
_PAST = 40


@dataclass(frozen=True, kw_only=True)
class WindowSizes:
    """How much is compared, and what is far.

    Attributes
    ----------
    reference, window
        Examples before, and in the newest window.
    floor
        A statistic below this never counts.
    margin
        And it must be so many times the largest but two of the recent ones: streams whose neighbours resemble each
        other have large statistics without any drift.
    learn
        Statistics of the stream's own before the first one counts.
    """

    reference: int = 2_000
    window: int = 500
    floor: float = 0.2
    margin: float = 2.0
    learn: int = 8


class WindowWatch(Generic[Row]):
    """Compares windows of rows by a statistic such as PSI.

    A first window that is far freezes the reference; the alarm comes only if the next window, which shares nothing with
    the first, is far too.

    Parameters
    ----------
    compare
        ``compare(reference, window) -> (statistic, what moved most)``.
    sizes
        Sizes and thresholds.
    """

    def __init__(self, compare: Callable[[Sequence[Row], Sequence[Row]], Comparison], sizes: WindowSizes) -> None:
        self.compare, self.sizes = compare, sizes
        self.dismissed = 0
        self.last = 0.0
        self.moved: list[Moved] = []
        self._past: deque[float] = deque(maxlen=_PAST)
        self._rows: deque[Row] = deque(maxlen=sizes.reference + sizes.window)
        self._frozen: list[Row] | None = None
        self._new, self._due = 0, sizes.window // 2

    @property
    def suspicious(self) -> bool:
        """Whether a first window was far."""
        return self._frozen is not None

    def update(self, row: Row) -> Shift | None:
        """Take a row; a confirmed move, once."""
        sizes = self.sizes
        self._rows.append(row)
        self._new += 1
        if len(self._rows) < sizes.reference + sizes.window or self._new < self._due:
            return None
        self._new = 0
        return self._look() if self._frozen is None else self._confirm(self._frozen)

    def usual(self) -> float:
        """Return what the statistic is on this stream without drift, as far as seen."""
        return float(np.median(self._past)) if self._past else 0.0

    def _look(self) -> Shift | None:
        rows = list(self._rows)
        reference, window = rows[: self.sizes.reference], rows[self.sizes.reference :]
        self.last, _ = self.compare(reference, window)
        if self._far(self.last):
            self._frozen, self._due = reference, self.sizes.window
        else:
            self._past.append(self.last)
        return None

    def _confirm(self, reference: list[Row]) -> Shift | None:
        window = list(self._rows)[-self.sizes.window :]
        self.last, moved = self.compare(reference, window)
        if not self._far(self.last):
            self.dismissed += 1
            self._past.append(self.last)
            self._frozen, self._due = None, self.sizes.window // 2
            return None
        self.moved, size = moved, self.sizes.window
        shift = Shift(
            2 * size,
            self.last,
            Window(examples=len(reference), mean=self.usual()),
            Window(examples=2 * size, mean=self.last),
        )
        self._rows = deque(window, maxlen=self._rows.maxlen)  # nothing of before is part of the new reference
        self._frozen, self._due = None, size // 2
        return shift

    def _far(self, statistic: float) -> bool:
        if len(self._past) < self.sizes.learn:
            return False
        usual = sorted(self._past)[-3]
        return statistic > max(self.sizes.floor, self.sizes.margin * usual)
