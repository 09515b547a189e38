"""Actions that reach beyond the learner: publishing on hold, a refresh of the teacher, the version before."""

from __future__ import annotations

import time
from collections.abc import Callable

from exporters.announcements import Announcement, announcement_of
from exporters.registry import Registry
from streamer.drift.hands import Errand, Hand, Values

Announce = Callable[[Announcement], None]


class PublishingHold:
    """Publishing on hold: the trainer goes on learning, servers keep what they have."""

    lasting = True

    def __init__(self, registry: Registry, model: str, announce: Announce) -> None:
        self._registry, self._model, self._announce = registry, model, announce

    def read(self) -> Values:
        """Return 1 where somebody else holds it already."""
        return [float(self._registry.held(self._model) is not None)]

    def change(self, before: Values, amount: float, reason: str) -> None:
        """Hold."""
        if self._registry.held(self._model) is None:
            self._registry.hold(self._model, f"drift: {reason}")
            self._announce(Announcement(name=self._model, kind="held", reason=reason, time_ms=_now_ms()))

    def put_back(self, before: Values) -> None:
        """Let go, unless it was held before."""
        if not before[0]:
            self._registry.lift(self._model)


def process_hands(registry: Registry, model: str, announce: Announce) -> dict[str, Hand]:
    """Make the hands of a trainer's process.

    Parameters
    ----------
    registry
        Where versions lie.
    model
        The student's name.
    announce
        Takes what is to go out on ``headwater.models``.
    """

    def refresh(reason: str) -> None:
        announce(Announcement(name="teacher", kind="asked", reason=f"drift: {reason}", time_ms=_now_ms()))

    def roll_back(reason: str) -> None:
        pointer = registry.rollback(model, None, f"drift: {reason}")
        announce(announcement_of(registry, registry.manifest(model, pointer.version), "rolled_back", reason))

    def release() -> None:
        pointer = registry.release(model)
        announce(announcement_of(registry, registry.manifest(model, pointer.version), "released", "drift: reverted"))

    return {
        "refresh_teacher": Errand(refresh),
        "hold": PublishingHold(registry, model, announce),
        "roll_back": Errand(roll_back, release),
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
