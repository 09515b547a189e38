"""Item vectors and the gate: they go out ahead of the version that they belong to, and come back when it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class VectorGuard:
    """Which vectors were published since the gate last passed, and what they were then.

    A row's vector is published within a second, a version is judged every few seconds. Where the version is refused,
    the vectors that went out since the last good one are taken back and no other follows until one passes.

    Examples
    --------
    >>> guard = VectorGuard()
    >>> guard.passed(np.ones((4, 2), np.float32), [None, None, "a", "b"], mark=guard.mark())
    >>> guard.sent([3]); guard.refused(), guard.holding
    ([3], True)
    >>> guard.vector(3, "b", 2).tolist(), guard.vector(3, "newcomer", 2).tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """

    def __init__(self) -> None:
        self.holding = False
        self._vectors: NDArray[np.float32] | None = None  # [R, D] of the version that passed
        self._item_ids: Sequence[str | None] = ()
        self._sent: dict[int, int] = {}  # row -> when it was last sent
        self._clock = 0

    def sent(self, rows: Iterable[int]) -> None:
        """Note vectors that go out."""
        self._clock += 1
        self._sent.update(dict.fromkeys(rows, self._clock))

    def mark(self) -> int:
        """Name this moment: what a version holds that is copied now."""
        return self._clock

    def passed(self, vectors: NDArray[np.float32], item_ids: Sequence[str | None], mark: int) -> None:
        """Keep the vectors of a version that passed, copied at ``mark``."""
        self._vectors, self._item_ids, self.holding = vectors, item_ids, False
        self._sent = {row: moment for row, moment in self._sent.items() if moment > mark}

    def refused(self) -> list[int]:
        """Hold vectors from now on; returns the rows whose vectors are to be taken back, each once."""
        taken_back, self._sent, self.holding = sorted(self._sent), {}, True
        return taken_back

    def vector(self, row: int, item_id: str | None, width: int) -> NDArray[np.float32]:
        """Vector [D] of the last good version; zeros where it did not know the item there."""
        if self._vectors is None or row >= len(self._item_ids) or self._item_ids[row] != item_id:
            return np.zeros(width, np.float32)
        found: NDArray[np.float32] = self._vectors[row]
        return found
