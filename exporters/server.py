"""The HTTP application."""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporters import metrics, problem
from exporters.desk import Desk
from exporters.outcomes import Outcomes
from exporters.problem import Problem
from exporters.routes import events, health, items, models, page, rank, recommend, search, similar, stats, users
from exporters.services import Services, services_of

_OPEN = (health.router, page.router)
_KEYED = (
    events.router,
    recommend.router,
    rank.router,
    search.router,
    similar.router,
    items.router,
    users.router,
    models.router,
    stats.router,
)


def build_app(services: Services) -> FastAPI:
    """Compose the application.

    Parameters
    ----------
    services
        Everything that the routes need. Its model and its tables may change while the app runs.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.desk.close()

    # The page at /docs is our own: FastAPI's loads its scripts from the network.
    app = FastAPI(title="Headwater", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.services = services
    app.state.desk = Desk(services)
    app.state.outcomes = Outcomes(services.students, services.shown_by)
    problem.install(app)
    app.add_middleware(Measured)
    for router in _OPEN:
        app.include_router(router)
    for router in _KEYED:
        app.include_router(router, dependencies=[Depends(_require_key)])
    return app


def _require_key(request: Request) -> None:
    wanted = services_of(request).api_key
    given = request.headers.get("x-api-key", "")
    if wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode()):
        raise Problem(401, "api_key", "Send the key of this server in the header X-API-Key.")


class Measured:
    """Counts and times requests by route (plain ASGI: the kind with ``call_next`` costs a task a request).

    Parameters
    ----------
    app
        The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and take its time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "500"

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        start = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            metrics.REQUESTS.labels(route, status).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(time.perf_counter() - start)
