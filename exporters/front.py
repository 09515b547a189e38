"""What every request passes before its route: an id, the drain, the key, the rate. Plain ASGI, no task a request."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import cache
from typing import Any

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporters import metrics
from exporters.keys import Right
from exporters.lifecycle import RETRY_AFTER_SECONDS
from exporters.problem import Problem, crashed, respond
from exporters.request_context import CURRENT, RequestContext, request_id_of
from exporters.services import Services

_OPEN = frozenset({"/", "/docs", "/openapi.json", "/metrics"})
_OPEN_FOLDERS = ("/health/", "/web/")
_ADMIN_FOLDERS = ("/admin/", "/models/")


class Watched:
    """Gives a request its id, counts and times it by route, logs it, traces it, and answers what nobody caught.

    Parameters
    ----------
    app
        The application inside.
    services
        Access log, tracer and lifecycle.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and take its time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        context = RequestContext(request_id=request_id_of(given), started_ns=time.time_ns())
        token = CURRENT.set(context)
        try:
            with self._traced(context, scope):
                await self._timed(context, scope, receive, send)
        finally:
            CURRENT.reset(token)

    def _traced(self, context: RequestContext, scope: Scope) -> Any:
        tracer = self._services.tracer
        return nullcontext() if tracer is None else tracer.request(context, scope["method"], Headers(scope=scope))

    async def _timed(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(context, message)
            await send(message)

        start = time.perf_counter()
        metrics.UNDER_WAY.inc()
        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            response = crashed(scope["method"], scope["path"], error)
            if status == 0:
                await response(scope, receive, watched)
        finally:
            metrics.UNDER_WAY.dec()
            self._note(context, scope, status, time.perf_counter() - start)

    def _add_headers(self, context: RequestContext, message: Message) -> None:
        headers = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
        if self._services.lifecycle.leaving:  # keep-alive connections move on to another server
            headers.append((b"connection", b"close"))
        message["headers"] = headers

    def _note(self, context: RequestContext, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        requests, took = _route_metrics(route, status)
        requests.inc()
        took.observe(seconds)
        self._services.access_log.write(context, scope["method"], route, status, 1_000 * seconds)
        if self._services.tracer is not None:
            self._services.tracer.answered(context, route, status)


@cache
def _route_metrics(route: str, status: int) -> tuple[Counter, Histogram]:
    """Prometheus finds a child by its labels slowly, and there are few."""
    return metrics.REQUESTS.labels(route, str(status)), metrics.REQUEST_SECONDS.labels(route)


class Guarded:
    """Refuses what should not come in: new requests while the server leaves, strangers, and too many at once.

    Parameters
    ----------
    app
        The application inside.
    services
        Keys, rate and lifecycle.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with the reason why not."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope)
        if problem is not None:
            await respond(problem)(scope, receive, send)
            return
        lifecycle = self._services.lifecycle
        lifecycle.entered()
        try:
            await self._app(scope, receive, send)
        finally:
            lifecycle.left()

    def _refusal(self, scope: Scope) -> Problem | None:
        if self._services.lifecycle.refusing:
            return Problem(
                503, "shutting_down", "This server is about to end; ask another one.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )  # fmt: skip
        return self._key_refusal(scope) or self._rate_refusal(scope)

    def _key_refusal(self, scope: Scope) -> Problem | None:
        keys = self._services.keys
        if not keys.asked_for:
            return None
        given = next((value for name, value in scope["headers"] if name == b"x-api-key"), b"")
        caller = keys.caller(given.decode("latin-1"))
        if caller.right < Right.USE:
            return Problem(401, "api_key", "Send a key of this server in the header X-API-Key.")
        _name_caller(caller.name)
        if is_admin(scope["method"], scope["path"]) and caller.right < Right.ADMIN:
            return Problem(
                403, "admin_key", f"The key {caller.name!r} may not administer; send one of serving.admin_keys."
            )
        return None

    def _rate_refusal(self, scope: Scope) -> Problem | None:
        current = CURRENT.get()
        name = current.caller if current is not None else ""
        client = scope.get("client")
        wait = self._services.rate.wait_seconds(name or (client[0] if client else ""))
        if wait <= 0:
            return None
        metrics.RATE_LIMITED.labels(name or "by address").inc()
        rate = self._services.rate.rate
        detail = f"{rate.per_second:g} requests a second are allowed, {rate.burst} at once; wait {wait:.3f} s."
        return Problem(429, "rate_limited", detail, retry_after_seconds=wait)


def is_open(path: str) -> bool:
    """Whether a path is answered without a key, at any rate and up to the end.

    >>> is_open("/health/ready"), is_open("/recommend")
    (True, False)
    """
    return path in _OPEN or path.startswith(_OPEN_FOLDERS)


def is_admin(method: str, path: str) -> bool:
    """Whether a request changes which model serves, or how the server is set up.

    >>> is_admin("POST", "/models/rollback"), is_admin("GET", "/models")
    (True, False)
    """
    return method not in ("GET", "HEAD") and path.startswith(_ADMIN_FOLDERS)


def _name_caller(name: str) -> None:
    current = CURRENT.get()
    if current is not None:
        current.caller = name
