"""What users do, read from examples alone: no scores are needed, so every example counts, tested or not."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Any

from streamer.examples import Example
from streamer.joins import NEGATIVE_ACTIONS


class Behaviour:
    r"""Reads three values of an example, each where it can be had.

    - ``answers``: 1 for an item taken from a list that was shown, 0 for a list that nobody answered
    - ``places``: where the item taken stood in the list that was shown, from 0, as a logarithm: :math:`\log_2(1 + p)`
    - ``surprise``: how unusual the item taken is, :math:`-\log_2 \frac{n_i + 1/2}{n + I/2}` with its count among the
      latest n items taken, which are I different ones; none before there are n

    Parameters
    ----------
    items
        The n of surprise.

    Examples
    --------
    >>> from streamer.examples import History, Position
    >>> def taken(item_id):
    ...     return Example(example_id="x", kind="interaction", source=Position(0, 0), user_id="u", item_id=item_id,
    ...                    event_time_ms=0, published_time_ms=0, history=History([], [], []), session_length=0,
    ...                    features=[], slate=["b", "a"])
    >>> behaviour = Behaviour(items=30)
    >>> for _ in range(31):
    ...     usual = behaviour.read(taken("a"))
    >>> usual["answers"], usual["places"], usual["surprise"] < 0.1 < 5 < behaviour.read(taken("b"))["surprise"]
    (1.0, 1.0, True)
    """

    def __init__(self, items: int = 3_000) -> None:
        self._most = items
        self._latest: deque[str] = deque()
        self._counts: Counter[str] = Counter()

    def read(self, example: Example) -> dict[str, float]:
        """Return the values of an example, as seen before it, and remember it."""
        item_id = None if example.action in NEGATIVE_ACTIONS else example.item_id
        values: dict[str, float] = {}
        if example.slate:
            values["answers"] = float(item_id is not None)
            if item_id in example.slate:
                values["places"] = math.log2(1 + example.slate.index(item_id))
        if item_id is not None:
            if len(self._latest) == self._most:
                values["surprise"] = self._surprise(item_id)
            self._remember(item_id)
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the latest items taken, oldest first."""
        return {"latest": list(self._latest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self._latest = deque(state["latest"])
        self._counts = Counter(self._latest)

    def _surprise(self, item_id: str) -> float:
        share = (self._counts[item_id] + 0.5) / (len(self._latest) + 0.5 * (len(self._counts) + 1))
        return -math.log2(share)

    def _remember(self, item_id: str) -> None:
        self._counts[item_id] += 1
        self._latest.append(item_id)
        if len(self._latest) > self._most:
            oldest = self._latest.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
