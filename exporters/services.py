"""Everything that the routes need, composed by whoever starts the server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from exporters.catalogue import Catalogue
from exporters.contracts import EventDoor, SessionStore
from exporters.item_tables import ItemTables
from exporters.limits import Limits
from exporters.problem import Problem
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.stats import Board
from exporters.students import ServedStudent, ShownBy, Students


async def _no_rollback(name: str, version: str | None) -> str:
    raise Problem(
        409, "no_registry", "This server was started without a model registry, so there is nothing to go back to."
    )


def _no_models() -> list[dict[str, Any]]:
    return []


def _always_ready() -> list[str]:
    return []


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
        Items that a model of long histories finds for a user, best first.
    not_ready
        Reasons for which traffic should not come yet; empty when ready.
    list_models
        Published versions, newest first.
    rollback
        Makes a version (or the previous one) of a student serve again everywhere; returns its name.
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
    api_key: str | None = None
    board: Board = field(default_factory=Board)
    known_of: Callable[[str], Sequence[str]] = lambda user_id: ()
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
