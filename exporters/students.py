"""The students of one server, side by side, each with its model, its tables and its index."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from exporters import metrics
from exporters.assignment import Assignment
from exporters.canary import Canary
from exporters.deltas import DEFAULT_MODEL
from exporters.errors import AssignmentError
from exporters.item_tables import ItemTables
from exporters.retrieval import VectorIndex
from exporters.runtime import LoadedModel, ModelHost

_SEPARATOR = ":"  # no model name holds one


@dataclass(frozen=True, kw_only=True)
class ServedStudent:
    """What serves under one name."""

    host: ModelHost
    tables: ItemTables
    index: VectorIndex
    canary: Canary | None = None

    def answering(self, user_id: str) -> LoadedModel | None:
        """Pick the version that answers a user: one on trial for those who try it, else the one that serves."""
        if self.canary is not None and self.canary.trial is not None and self.canary.tries(user_id):
            return self.canary.trial
        return self.host.current

    @property
    def name(self) -> str:
        """The model's name."""
        return self.host.name

    @property
    def ready(self) -> bool:
        """Whether a version is loaded."""
        return self.host.current is not None

    def label(self, version: str) -> str | None:
        """Name a version so that it tells its student, None for no version; the default student's stays as it is."""
        if not version:
            return None
        return version if self.name == DEFAULT_MODEL else f"{self.name}{_SEPARATOR}{version}"


def student_of_version(model_version: str) -> str:
    """Name the student that a version of an answer belongs to.

    >>> student_of_version("caser:000003-1a2b3c4d"), student_of_version("000003-1a2b3c4d")
    ('caser', 'student')
    """
    name, separator, _ = model_version.partition(_SEPARATOR)
    return name if separator else DEFAULT_MODEL


class Students:
    """The students by name, and which of them answers a user.

    Parameters
    ----------
    students
        The first is the one that the live page shows.
    assignment
        Shares of users; everybody goes to the first where nothing is said.

    Raises
    ------
    AssignmentError
        A share names a student that is not there.
    """

    def __init__(self, students: Iterable[ServedStudent], assignment: Assignment | None = None) -> None:
        self._students = {student.name: student for student in students}
        self.first = next(iter(self._students.values()))
        self.assignment = assignment or Assignment({self.first.name: 1.0})
        unknown = set(self.assignment.shares) - set(self._students)
        if unknown:
            raise AssignmentError(f"there is no student {sorted(unknown)}; there are {sorted(self._students)}")

    def __iter__(self) -> Iterator[ServedStudent]:
        """Go through the students, the first one first."""
        return iter(self._students.values())

    def __getitem__(self, name: str) -> ServedStudent:
        """Return the student of a name."""
        return self._students[name]

    def __contains__(self, name: object) -> bool:
        """Whether a student of that name is served."""
        return name in self._students

    def names(self) -> list[str]:
        """Names of all students."""
        return list(self._students)

    def share(self, name: str) -> float:
        """Share of the users that are a student's own."""
        return self.assignment.shares.get(name, 0.0)

    def answering(self, user_id: str) -> ServedStudent:
        """Find the student that answers a user: the user's own, or another one while that has no version yet."""
        own = self._students[self.assignment.of(user_id)]
        if own.ready:
            return own
        other = self.assignment.of(user_id, {student.name for student in self if student.ready})
        if other != own.name:
            metrics.STOOD_IN.labels(own.name, other).inc()
        return self._students[other]

    def show(self) -> None:
        """Bring the gauges of Prometheus up to date."""
        for student in self:
            metrics.STUDENT_SHARE.labels(student.name).set(self.share(student.name))
            metrics.STUDENT_READY.labels(student.name).set(student.ready)
            metrics.MODEL_AGE_SECONDS.labels(student.name).set(student.host.age_seconds)


class ShownBy:
    """Which student made the lists of late, by impression.

    Parameters
    ----------
    impressions
        So many are kept; the oldest make room.

    Examples
    --------
    >>> shown = ShownBy(impressions=1)
    >>> shown.put("i1", "caser"); shown.put("i2", "student")
    >>> shown.get("i1"), shown.get("i2")
    (None, 'student')
    """

    def __init__(self, impressions: int = 100_000) -> None:
        self._impressions = impressions
        self._names: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, impression_id: str, name: str) -> None:
        """Note who made a list."""
        with self._lock:
            self._names[impression_id] = name
            while len(self._names) > self._impressions:
                self._names.popitem(last=False)

    def get(self, impression_id: str) -> str | None:
        """Return who made it; None where that is not known here (any more)."""
        return self._names.get(impression_id)
