"""The seam of traces: what the server tells of a request. OpenTelemetry is behind it where it is on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from exporters.request_context import RequestContext


class RequestTracer(Protocol):
    """Records requests and what happens behind them."""

    def request(self, context: RequestContext, method: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Cover a request; ``headers`` may name the trace of the caller (W3C ``traceparent``)."""
        ...

    def answered(self, context: RequestContext, route: str, status: int) -> None:
        """Name the route and tell its stages, once the request that is covered is answered."""
        ...

    def span(self, name: str) -> AbstractContextManager[None]:
        """Cover work behind an answer, as a part of the request's trace."""
        ...
