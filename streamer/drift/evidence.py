"""What was taken lately, so that an alarm can say which categories and surfaces moved."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

import numpy as np

from streamer.drift.psi import Names, top_moved
from streamer.drift.records import Moved

_MOST_NAMES = 30


class Seen(NamedTuple):
    """One example, as far as evidence needs it."""

    number: int  # of learned examples
    time_ms: int
    categories: Names
    surface: str


class Evidence:
    """The latest examples, in the order in which they were learnt.

    Parameters
    ----------
    examples
        How many are kept.

    Examples
    --------
    >>> evidence = Evidence()
    >>> for number in range(100):
    ...     evidence.add(Seen(number, 1_000 * number, ("film",) if number < 50 else ("book",), "home"))
    >>> evidence.time_of(50), [(moved.name, moved.before, moved.after) for moved in evidence.moved(50)]
    (50000, [('book', 0.0, 1.0), ('film', 1.0, 0.0)])
    """

    def __init__(self, examples: int = 12_000) -> None:
        self._seen: deque[Seen] = deque(maxlen=examples)

    def add(self, seen: Seen) -> None:
        """Take one more."""
        self._seen.append(seen)

    @property
    def last_ms(self) -> int:
        """Event time of the latest example; 0 before the first."""
        return self._seen[-1].time_ms if self._seen else 0

    def time_of(self, number: int) -> int:
        """Event time of an example, or of the next one that is known."""
        return next((seen.time_ms for seen in self._seen if seen.number >= number), 0)

    def moved(self, since: int) -> list[Moved]:
        """Categories and surfaces whose shares differ most between before and since."""
        before, after = ([s for s in self._seen if (s.number >= since) == side] for side in (False, True))
        if not before or not after:
            return []
        categories = [Counter(name for seen in part for name in seen.categories) for part in (before, after)]
        surfaces = [Counter(seen.surface for seen in part) for part in (before, after)]
        return _moved("category", *categories) + _moved("surface", *surfaces)


def _moved(kind: str, before: Counter[str], after: Counter[str]) -> list[Moved]:
    names = sorted(name for name, _ in (before + after).most_common(_MOST_NAMES))
    counts = [np.array([found[name] for name in names], float) for found in (before, after)]
    return top_moved("category" if kind == "category" else "surface", names, *counts)
