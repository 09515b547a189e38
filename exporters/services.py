"""Everything that the routes need, composed by whoever starts the server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from exporters.access_log import AccessLog
from exporters.catalogue import Catalogue
from exporters.contracts import EventDoor, SessionStore
from exporters.item_tables import ItemTables
from exporters.keys import Keys
from exporters.lifecycle import Lifecycle
from exporters.limits import Limits
from exporters.problem import Problem
from exporters.rate_limit import RateLimit
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.stats import Board
from exporters.students import ServedStudent, ShownBy, Students
from exporters.tracing import RequestTracer


async def _no_rollback(name: str, version: str | None) -> str:
    raise Problem(
        409, "no_registry", "This server was started without a model registry, so there is nothing to go back to."
    )


def _no_models() -> list[dict[str, Any]]:
    return []


def _always_ready() -> list[str]:
    return []


async def _no_reload() -> dict[str, Any]:
    raise Problem(409, "no_settings", "This server was started without settings that could be read again.")


def _no_state() -> dict[str, Any]:
    return {}


@dataclass(kw_only=True)
class Services:
    """The parts of a running server.

    Parameters
    ----------
    store
        Reads a user's session and features.
    door
        Checks and publishes events.
    host
        Holds the model that serves; of the first student, where there are several.
    tables
        Item vectors, item features and neighbour lists, updated row by row; of the first student.
    index
        The item vectors again, for the search around a user vector; of the first student.
    students
        All students and their shares of the users; the parts above alone where it is absent.
    shown_by
        Which student made which list.
    catalogue
        Titles, categories, availability.
    known_of
        Items that a model of long histories finds for a user, best first; None without such a model.
    knows
        Whether that model has a version to ask, so that no request waits for nothing.
    not_ready
        Reasons for which traffic should not come yet; empty when ready.
    list_models
        Published versions, newest first.
    rollback
        Makes a version (or the previous one) of a student serve again everywhere; returns its name.
    keys
        Who may use the server and who may administer it.
    rate
        How many requests each caller may send.
    lifecycle
        Whether requests should still come.
    access_log
        Which requests get a line in the log.
    health
        Facts beside readiness: how far the server is behind each topic.
    reload
        Reads the settings again; says what has changed and what needs a restart.
    tracer
        Records a trace of each request; None: nothing is recorded.
    clock_ms
        The time, replaced in tests.
    """

    store: SessionStore
    door: EventDoor
    host: ModelHost
    tables: ItemTables
    index: VectorIndex
    students: Students = None  # type: ignore[assignment]
    shown_by: ShownBy = field(default_factory=ShownBy)
    catalogue: Catalogue = field(default_factory=Catalogue)
    limits: Limits = Limits()
    keys: Keys = Keys()
    rate: RateLimit = field(default_factory=RateLimit)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    access_log: AccessLog = AccessLog()
    health: Callable[[], dict[str, Any]] = _no_state
    reload: Callable[[], Awaitable[dict[str, Any]]] = _no_reload
    tracer: RequestTracer | None = None
    board: Board = field(default_factory=Board)
    known_of: Callable[[str], Sequence[str]] | None = None
    knows: Callable[[], bool] = lambda: True
    not_ready: Callable[[], list[str]] = _always_ready
    list_models: Callable[[], list[dict[str, Any]]] = _no_models
    rollback: Callable[[str, str | None], Awaitable[str]] = _no_rollback
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def __post_init__(self) -> None:
        """Make one student of host, tables and index where nothing is said of others."""
        if self.students is None:
            self.students = Students([ServedStudent(host=self.host, tables=self.tables, index=self.index)])

    @property
    def model_version(self) -> str | None:
        """The first student's version that serves; None before the first."""
        return self.students.first.label(self.host.version)

    @property
    def model_age_seconds(self) -> float:
        """Seconds since the serving version was published; 0 before the first."""
        return self.host.age_seconds


def services_of(request: Request) -> Services:
    """Services of the app that a request came to."""
    services: Services = request.app.state.services
    return services
