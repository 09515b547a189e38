"""What the live page shows of the running server: counts, recent latencies and the quality last announced."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from typing import Any

import numpy as np

from exporters.timeline import Timeline

_USERS = 30


class Recent:
    """The last ``size`` values and their quantiles.

    >>> recent = Recent(3)
    >>> for value in (9, 1, 2, 3):
    ...     recent.add(value)
    >>> recent.quantiles()
    {'p50': 2.0, 'p95': 2.9, 'p99': 2.98, 'count': 4}
    """

    def __init__(self, size: int = 2_000) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._count = 0

    def add(self, value: float) -> None:
        """Take a value in."""
        self._values.append(value)
        self._count += 1

    @property
    def mean(self) -> float | None:
        """Mean of the kept values; None before the first."""
        return round(sum(self._values) / len(self._values), 4) if self._values else None

    def quantiles(self) -> dict[str, float | None]:
        """Quantiles of the kept values (None before the first) and the number of all values."""
        points = np.quantile(list(self._values), (0.5, 0.95, 0.99)).round(3).tolist() if self._values else [None] * 3
        return {"p50": points[0], "p95": points[1], "p99": points[2], "count": self._count}


class Board:
    """Counters of one server process. Cheap to write, read by ``GET /stats``."""

    def __init__(self) -> None:
        self.started = time.time()
        self.counts: Counter[str] = Counter()
        self.session_freshness_ms = Recent()
        self.weights_freshness_ms = Recent()
        self.ranking_ms = Recent()
        self.list_overlap = Recent()  # rank-biased overlap of successive lists of one session
        self.quality: dict[str, Any] = {}
        self.timeline = Timeline()
        self._users: OrderedDict[str, None] = OrderedDict()

    def saw_user(self, user_id: str) -> None:
        """Remember a user as recently active."""
        self._users[user_id] = None
        self._users.move_to_end(user_id)
        while len(self._users) > _USERS:
            self._users.popitem(last=False)

    def document(self) -> dict[str, Any]:
        """Everything as JSON-ready values."""
        return {
            "uptime_seconds": round(time.time() - self.started, 1),
            "counts": dict(self.counts),
            "session_freshness_ms": self.session_freshness_ms.quantiles(),
            "weights_freshness_ms": self.weights_freshness_ms.quantiles(),
            "ranking_ms": self.ranking_ms.quantiles(),
            "list_overlap": {**self.list_overlap.quantiles(), "mean": self.list_overlap.mean},
            "quality": self.quality,
            "recent_users": list(reversed(self._users)),
        }
