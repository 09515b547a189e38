"""Looking at event files before they are published.

:func:`inspect` reads files once and returns an :class:`Inspection`. *Errors* are things that would be refused or that
would teach a model something false; *warnings* are things that work but that the owner of the data should know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from streamer.events import Event, encode
from streamer.sources.files import Line

_EXAMPLES_KEPT = 20


@dataclass
class Finding:
    """One kind of trouble: how often, and where it is seen first."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Count it and keep the place of the first ones."""
        self.count += 1
        if len(self.places) < _EXAMPLES_KEPT:
            self.places.append(place)


@dataclass(frozen=True)
class _Shown:
    time_ms: int
    slate: tuple[str, ...]


@dataclass
class Inspection:
    """What is in the files. ``findings`` are keyed by a machine-readable word."""

    lines: int = 0
    types: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    surfaces: Counter[str] = field(default_factory=Counter)
    rejected: dict[str, Finding] = field(default_factory=dict)
    errors: dict[str, Finding] = field(default_factory=dict)
    warnings: dict[str, Finding] = field(default_factory=dict)
    first_event_time_ms: int | None = None
    last_event_time_ms: int | None = None
    furthest_back_ms: int = 0
    users: int = 0
    items_used: int = 0
    items_described: int = 0
    shown_by_position: list[int] = field(default_factory=list)
    clicks_by_position: list[int] = field(default_factory=list)
    joined_interactions: int = 0
    sessions: int = 0
    session_length_quantiles: dict[str, float] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether there are no errors."""
        return not self.rejected and not self.errors

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        plain: dict[str, Any] = {name: value for name, value in vars(self).items() if not isinstance(value, dict)}
        for name in ("types", "actions", "surfaces", "session_length_quantiles"):
            plain[name] = dict(getattr(self, name))
        for name in ("rejected", "errors", "warnings"):
            plain[name] = {word: vars(finding) for word, finding in getattr(self, name).items()}
        return plain | {"is_good": self.is_good}


def inspect(lines: Iterable[Line], gap_seconds: float = 1_800.0) -> Inspection:
    """Read all lines once.

    Parameters
    ----------
    lines
        As :func:`streamer.sources.files.read_lines` gives them, of one file or of several that belong together.
    gap_seconds
        A pause of this length ends a session.

    Examples
    --------
    >>> from pathlib import Path
    >>> view = Event(event_id="e1", type="interaction", event_time_ms=5, user_id="u", item_id="i", action="view")
    >>> inspect([Line(Path("a"), 1, view), Line(Path("a"), 2, view)]).warnings["duplicate_event"].places
    ['a:2']
    """
    inspector = _Inspector()
    for line in lines:
        inspector.add(line)
    return inspector.finish(gap_seconds)


class _Inspector:
    def __init__(self) -> None:
        self.result = Inspection()
        self._fingerprints: dict[str, int] = {}
        self._impressions: dict[str, _Shown] = {}
        self._interactions: list[tuple[str, Event]] = []
        self._times_of_user: dict[str, list[int]] = {}
        self._used: dict[str, str] = {}
        self._described: set[str] = set()

    def add(self, line: Line) -> None:
        """Take in one line."""
        self.result.lines += 1
        place = f"{line.path.name}:{line.number}"
        if line.error is not None:
            self.result.rejected.setdefault(line.error.reason, Finding()).add(f"{place} {line.error}")
        elif line.event is not None and not self._is_duplicate(line.event, place):
            self._add_event(line.event, place)

    def finish(self, gap_seconds: float) -> Inspection:
        """Join what belongs together and count."""
        for place, event in self._interactions:
            self._join(event, place)
        if self._described:
            for item_id, place in self._used.items():
                if item_id not in self._described:
                    self._warn("unknown_item", f"{place} {item_id}")
        result = self.result
        result.users = len(self._times_of_user)
        result.items_used, result.items_described = len(self._used), len(self._described)
        self._count_sessions(gap_seconds * 1_000)
        return result

    def _add_event(self, event: Event, place: str) -> None:
        self.result.types[event.type] += 1
        if event.type == "item":
            self._described.add(event.item_id or "")
            if not event.title:
                self._warn("item_without_title", f"{place} {event.item_id}")
            return
        self._note_time(event, place)
        self._times_of_user.setdefault(event.user_id or "", []).append(event.event_time_ms)
        self.result.surfaces[event.surface or "(none)"] += 1
        for item_id in event.items or [event.item_id or ""]:
            self._used.setdefault(item_id, place)
        if event.type == "impression":
            self._add_impression(event, place)
        else:
            self.result.actions[event.action or ""] += 1
            if event.impression_id is not None:
                self._interactions.append((place, event))

    def _add_impression(self, event: Event, place: str) -> None:
        if event.impression_id in self._impressions:
            self._error("repeated_impression_id", f"{place} {event.impression_id}")
            return
        slate = tuple(event.items or ())
        self._impressions[event.impression_id or ""] = _Shown(event.event_time_ms, slate)
        shown = self.result.shown_by_position
        shown.extend([0] * (len(slate) - len(shown)))
        for position in range(len(slate)):
            shown[position] += 1

    def _is_duplicate(self, event: Event, place: str) -> bool:
        fingerprint = hash(encode(event))
        if event.event_id not in self._fingerprints:
            self._fingerprints[event.event_id] = fingerprint
            return False
        if self._fingerprints[event.event_id] == fingerprint:
            self._warn("duplicate_event", place)
        else:
            self._error("event_id_used_twice", f"{place} {event.event_id}")
        return True

    def _note_time(self, event: Event, place: str) -> None:
        result, time_ms = self.result, event.event_time_ms
        if result.first_event_time_ms is None or time_ms < result.first_event_time_ms:
            result.first_event_time_ms = time_ms
        if result.last_event_time_ms is not None and time_ms < result.last_event_time_ms:
            self._warn("out_of_order", place)
            result.furthest_back_ms = max(result.furthest_back_ms, result.last_event_time_ms - time_ms)
        result.last_event_time_ms = max(time_ms, result.last_event_time_ms or time_ms)

    def _join(self, event: Event, place: str) -> None:
        shown = self._impressions.get(event.impression_id or "")
        if shown is None:
            self._warn("unknown_impression", f"{place} {event.impression_id}")
        elif event.item_id not in shown.slate:
            self._error("item_not_in_slate", f"{place} {event.item_id}")
        elif event.event_time_ms < shown.time_ms:
            self._error("interaction_before_impression", place)
        else:
            self._count_click(shown.slate.index(event.item_id or ""))

    def _count_click(self, position: int) -> None:
        clicks = self.result.clicks_by_position
        clicks.extend([0] * (len(self.result.shown_by_position) - len(clicks)))
        clicks[position] += 1
        self.result.joined_interactions += 1

    def _count_sessions(self, gap_ms: float) -> None:
        lengths: list[int] = []
        for times in self._times_of_user.values():
            times.sort()
            cuts = [index for index, (a, b) in enumerate(pairwise(times), start=1) if b - a > gap_ms]
            lengths.extend(end - start for start, end in pairwise([0, *cuts, len(times)]))
        self.result.sessions = len(lengths)
        if lengths:
            quantiles = np.quantile(lengths, [0.5, 0.95, 1.0])
            self.result.session_length_quantiles = dict(zip(("p50", "p95", "max"), map(float, quantiles), strict=True))

    def _warn(self, word: str, place: str) -> None:
        self.result.warnings.setdefault(word, Finding()).add(place)

    def _error(self, word: str, place: str) -> None:
        self.result.errors.setdefault(word, Finding()).add(place)
