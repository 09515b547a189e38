"""How many requests a caller may send: one token bucket for each."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A rate and how far a caller may run ahead of it; a rate of 0 allows everything."""

    per_second: float = 0.0
    burst: int = 100


class RateLimit:
    r"""Token buckets by caller.

    A bucket holds at most ``burst`` tokens and gets ``per_second`` of them each second; a request takes one. Where
    there is none, the wait is :math:`(1 - t) / r` seconds.

    Parameters
    ----------
    rate
        How much a caller may send; may be replaced while requests come.
    callers
        So many buckets are kept; the ones that were unused longest make room.
    clock
        Seconds, monotonic.

    Examples
    --------
    >>> now = [0.0]
    >>> limit = RateLimit(Rate(per_second=2, burst=2), clock=lambda: now[0])
    >>> [limit.wait_seconds("shop") for _ in range(3)]
    [0.0, 0.0, 0.5]
    >>> now[0] = 0.5
    >>> limit.wait_seconds("shop")
    0.0
    """

    def __init__(
        self, rate: Rate | None = None, callers: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate or Rate()
        self._callers, self._clock = callers, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait_seconds(self, caller: str) -> float:
        """Take a token; returns 0, or the seconds until there will be one."""
        rate = self.rate
        if rate.per_second <= 0:
            return 0.0
        now = self._clock()
        tokens, counted = self._buckets.pop(caller, (float(rate.burst), now))
        tokens = min(float(rate.burst), tokens + (now - counted) * rate.per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / rate.per_second
        self._buckets[caller] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        return wait
