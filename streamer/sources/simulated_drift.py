"""Drifts that are planned: what changes in the simulated world, and how far it has changed at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Course = Literal["sudden", "gradual", "recurring"]
Subject = Literal["tastes", "features", "labels"]


@dataclass(frozen=True, kw_only=True)
class PlannedDrift:
    """One drift with its beginning known, so that detectors can be judged by it.

    Attributes
    ----------
    subject
        ``tastes``: what users want and which items are good, both in lists and in clicks. ``features``: where users
        come from and how fast they act, while what they click stays as it was. ``labels``: what they click, while lists
        and visits stay as they were.
    course
        ``sudden``: at once. ``gradual``: over ``over_days``, one user after the other. ``recurring``: there and back,
        every ``over_days``.
    at_day
        Days from the start of the stream to the beginning.

    Examples
    --------
    >>> drift = PlannedDrift(subject="tastes", course="gradual", at_day=2.0, over_days=4.0)
    >>> [drift.extent(day) for day in (1.0, 3.0, 9.0)]
    [0.0, 0.25, 1.0]
    """

    subject: Subject = "tastes"
    course: Course = "sudden"
    at_day: float = 1.0
    over_days: float = 1.0

    def extent(self, day: float) -> float:
        """How far it has come, from 0 to 1."""
        past = day - self.at_day
        if past < 0:
            return 0.0
        if self.course == "gradual":
            return min(past / self.over_days, 1.0)
        return 1.0 if self.course == "sudden" else float(int(past / self.over_days) % 2 == 0)
