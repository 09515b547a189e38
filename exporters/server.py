"""The HTTP application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from exporters import openapi, problem
from exporters.desk import Desk
from exporters.direct import Direct
from exporters.front import Guarded, Watched
from exporters.outcomes import Outcomes
from exporters.routes import (
    admin,
    events,
    health,
    items,
    lists,
    models,
    page,
    rank,
    recommend,
    search,
    similar,
    stats,
    users,
)
from exporters.services import Services
from exporters.side_by_side import SideBySide

_ROUTERS = tuple(
    part.router
    for part in (health, page, events, recommend, rank, search, similar, items, users, lists, models, stats, admin)
)


def build_app(services: Services) -> FastAPI:
    """Compose the application.

    Parameters
    ----------
    services
        Everything that the routes need. Its model, its tables and its limits may change while the app runs.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.desk.close()

    # The page at /docs is our own: FastAPI's loads its scripts from the network.
    app = FastAPI(title="Headwater", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.services = services
    app.state.desk = Desk(services)
    app.state.side_by_side = SideBySide(services)
    app.state.outcomes = Outcomes(services.students, services.shown_by)
    problem.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    openapi.install(app)
    app.add_middleware(Direct, routers=_ROUTERS)  # the innermost; the last one that is added is the first to be asked
    app.add_middleware(Guarded, services=services)
    app.add_middleware(Watched, services=services)
    return app
