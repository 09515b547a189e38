"""What has happened, for the live page: quality as it was announced, versions, and drift, on one time line."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from exporters.announcements import Announcement
from exporters.manifest import Manifest

_POINTS, _MARKS = 600, 200
_MOVES = ("published", "rolled_back", "released", "refused")
_RATE = "hr@10"


class Timeline:
    """Quality over time and the marks on it, in bounded memory.

    When there are too many points of quality, every second one of the older half goes: the line keeps its length and
    loses detail where it is old. Of the marks the latest are kept.

    Parameters
    ----------
    points, marks
        So many are kept.

    Examples
    --------
    >>> line = Timeline()
    >>> line.note(Announcement(name="student", kind="published", version="1-a", metrics={"hr@10": 0.2}, time_ms=5))
    >>> line.document()["quality"], line.document()["versions"][0]["kind"]
    ([{'time_ms': 5, 'model': 'student', 'hr@10': 0.2}], 'published')
    """

    def __init__(self, points: int = _POINTS, marks: int = _MARKS) -> None:
        self._points, self._marks = points, marks
        self._quality: list[dict[str, Any]] = []
        self._versions: OrderedDict[tuple[str, str, str, int], dict[str, Any]] = OrderedDict()
        self._drift: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, manifest: Manifest) -> None:
        """Take in a version that was published before this process began; give them oldest first."""
        published = Announcement(
            name=manifest.name,
            kind="published",
            version=manifest.version,
            metrics=manifest.metrics,
            time_ms=manifest.created_ms,
        )
        self.note(published)

    def note(self, announcement: Announcement) -> None:
        """Take in what was announced of a student; one that is told twice counts once."""
        if announcement.kind not in _MOVES:
            return
        told_at_ms = 0 if announcement.kind == "published" else announcement.time_ms  # a version is published once
        key = (announcement.name, announcement.kind, announcement.version, told_at_ms)
        mark = {
            "time_ms": announcement.time_ms,
            "model": announcement.name,
            "kind": announcement.kind,
            "version": announcement.version,
            "reason": announcement.reason,
        }
        with self._lock:
            if key in self._versions:
                return
            self._versions[key] = mark
            _trim(self._versions, self._marks)
            if announcement.kind == "published":
                self._note_quality(announcement)

    def note_drift(self, identity: str, mark: Mapping[str, Any]) -> None:
        """Take in an alarm or an action, ``{time_ms, kind, what, …}``; a later word on the same one replaces it."""
        with self._lock:
            self._drift[identity] = dict(mark)
            _trim(self._drift, self._marks)

    def document(self) -> dict[str, Any]:
        """``{quality, versions, drift}``, each in the order of time."""
        with self._lock:
            return {
                "quality": sorted(self._quality, key=_time_ms),
                "versions": sorted(self._versions.values(), key=_time_ms),
                "drift": sorted(self._drift.values(), key=_time_ms),
            }

    def _note_quality(self, announcement: Announcement) -> None:
        rates = {name: rate for name, rate in announcement.metrics.items() if name.endswith(_RATE)}
        if not rates:
            return
        self._quality.append({"time_ms": announcement.time_ms, "model": announcement.name, **rates})
        if len(self._quality) > self._points:
            older = self._quality[: self._points // 2]
            self._quality = older[::2] + self._quality[len(older) :]


def _trim(kept: OrderedDict[Any, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def _time_ms(mark: Mapping[str, Any]) -> int:
    time_ms: int = mark["time_ms"]
    return time_ms
