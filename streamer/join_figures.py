"""How well soft labels reach their examples: coverage, age, agreement."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from streamer import metrics

_WINDOW = 5_000


class JoinFigures:
    """Counts of one student since its start; ratios are over the latest examples.

    Examples
    --------
    >>> figures = JoinFigures()
    >>> figures.add_joined([1_500, 2_500]); figures.add_missed(2); figures.add_places([0, 4, -1, 12])
    >>> figures.coverage, figures.agreement(1), figures.agreement(10)
    (0.5, 0.25, 0.5)
    """

    def __init__(self) -> None:
        self.joined = self.missed = self.stale = 0
        self._ages_ms: list[int] = []
        self._there: deque[bool] = deque(maxlen=_WINDOW)
        self._places: deque[int] = deque(maxlen=_WINDOW)
        self._shown: dict[str, int] = {}

    @property
    def coverage(self) -> float:
        """Share of the latest examples whose label was there in time."""
        return sum(self._there) / len(self._there) if self._there else 0.0

    def agreement(self, depth: int) -> float:
        """Share of the latest joined examples in which the item taken is among the teacher's best ``depth``."""
        hits = sum(0 <= place < depth for place in self._places)
        return hits / len(self._places) if self._places else 0.0

    def add_joined(self, ages_ms: Sequence[int]) -> None:
        """Count examples that were joined to their label so long after they were published."""
        self.joined += len(ages_ms)
        self._ages_ms += ages_ms
        self._there.extend([True] * len(ages_ms))

    def add_missed(self, number: int) -> None:
        """Count examples that learn by their hard label alone."""
        self.missed += number
        self._there.extend([False] * number)

    def add_places(self, places: Sequence[int]) -> None:
        """Note where the item taken stood in the teacher's lists, from 0; -1 for nowhere."""
        self._places.extend(places)

    def show(self, learner: str, waiting: int) -> None:
        """Bring the metrics of this student up to date."""
        ages_ms, self._ages_ms = self._ages_ms, []
        for age_ms in ages_ms:
            metrics.SOFT_LABEL_JOIN_SECONDS.labels(learner=learner).observe(age_ms / 1e3)
        for result in ("joined", "missed", "stale"):
            count = getattr(self, result)
            metrics.SOFT_LABEL_JOINS.labels(learner=learner, result=result).inc(count - self._shown.get(result, 0))
            self._shown[result] = count
        metrics.SOFT_LABEL_COVERAGE.labels(learner=learner).set(self.coverage)
        metrics.SOFT_LABEL_WAITING.labels(learner=learner).set(waiting)
        for depth in (1, 10):
            metrics.SOFT_LABEL_AGREEMENT.labels(learner=learner, depth=str(depth)).set(self.agreement(depth))
