"""When a teacher learns: always, now and then on a window, or never again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Recommender

_COLUMNS = ("users", "items", "times_seconds", "actions", "values", "tested")


class Schedule(Protocol):
    """Hands a teacher what it is to learn."""

    def teach(self, teacher: Recommender, events: Interactions, histories: Histories) -> None:
        """See a micro-batch of the stream, and let the teacher learn as the schedule has it."""
        ...


class Continuous:
    """The teacher learns all events, in micro-batches of its own size where that is smaller than the student's."""

    def teach(self, teacher: Recommender, events: Interactions, histories: Histories) -> None:
        """Learn them."""
        learn_in_parts(teacher, events, histories)


@dataclass
class Frozen:
    """The teacher learns the first ``warm_up`` events of the stream, and nothing after them."""

    warm_up: int
    seen: int = 0

    def teach(self, teacher: Recommender, events: Interactions, histories: Histories) -> None:
        """Learn it while the warm-up lasts."""
        if self.seen < self.warm_up:
            learn_in_parts(teacher, events, histories)
        self.seen += len(events)


@dataclass
class Refreshed:
    """After the ``warm_up`` the teacher is fitted on the newest ``window`` events whenever ``every`` more are there.

    It goes on from the weights that it has (a warm start), and between two refreshes it stays as it is. How many epochs
    a refresh takes is a setting of the teacher's ``fit``.
    """

    warm_up: int
    every: int
    window: int
    seen: int = 0
    refreshes: int = 0
    _waiting: int = 0
    _log: list[Interactions] = field(default_factory=list)

    def teach(self, teacher: Recommender, events: Interactions, histories: Histories) -> None:
        """Learn it in the warm-up, later keep it for the next refresh."""
        self._keep(events)
        warming = self.seen < self.warm_up
        self.seen += len(events)
        if warming:
            learn_in_parts(teacher, events, histories)
            return
        self._waiting += len(events)
        if self._waiting >= self.every:
            self._waiting = 0
            self.refreshes += 1
            teacher.fit(self._newest())

    def _keep(self, events: Interactions) -> None:
        self._log.append(events)
        while sum(map(len, self._log[1:])) >= self.window:
            del self._log[0]

    def _newest(self) -> Interactions:
        """Join the newest ``window`` events."""
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in self._log])[-self.window :] for name in _COLUMNS
        }
        return replace(self._log[-1], **columns)


def learn_in_parts(teacher: Recommender, events: Interactions, histories: Histories) -> None:
    """Let a teacher learn events in micro-batches of its own size."""
    for start in range(0, len(events), teacher.micro_batch):
        part = np.arange(start, min(start + teacher.micro_batch, len(events)))
        teacher.learn(events.take(part), histories.take(part))
