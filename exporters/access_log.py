"""One line for a request: which route, how it ended, how long each stage took. Sampled, except what went wrong."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass

from exporters.request_context import RequestContext

_log = logging.getLogger("headwater.access")


@dataclass(frozen=True, kw_only=True)
class AccessLog:
    """Which requests get a line.

    Parameters
    ----------
    share
        Of all requests, drawn at random.
    slow_ms
        Requests that take longer always get one, as those do that the server fails on (500; a 503 is an answer).
    """

    share: float = 0.0
    slow_ms: float = 1_000.0

    def write(self, context: RequestContext, method: str, route: str, status: int, elapsed_ms: float) -> None:
        """Write the line, or leave it out. It holds the route's pattern: no user, no query, no header."""
        wrong = status == 500 or elapsed_ms > self.slow_ms
        if not wrong and (self.share <= 0 or random.random() >= self.share):
            return
        fields = {
            "request_id": context.request_id,
            "method": method,
            "route": route,
            "status": status,
            "elapsed_ms": round(elapsed_ms, 3),
            "caller": context.caller,
            "stages_ms": dict(context.timings_ms),
        }
        level = logging.WARNING if wrong else logging.INFO
        _log.log(level, "%s %s %d in %.1f ms", method, route, status, elapsed_ms, extra={"fields": fields})
