"""New versions on trial at one server: from the announcement to serving everybody, or back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from msgspec import structs

from exporters import metrics
from exporters.announcements import Announcement, announcement_of
from exporters.canary import Canary
from exporters.errors import ExporterError
from exporters.manifest import Trial
from exporters.registry import Registry
from exporters.runtime import ModelHost
from streamer.server_settings import canary_rules_of
from streamer.settings import Serving

_log = logging.getLogger(__name__)
_RESUMED_SECONDS = 3_600.0  # a trial that was noted longer ago is not gone on with


class VersionTrials:
    """Tries a version on a share of the users, then serves it to all, or refuses it and rolls back.

    Versions that are announced during a trial wait, and the newest of them is tried next. A refusal pins the version
    that served before, on every server, until somebody releases it: a learner that got worse rarely mends by itself.

    Parameters
    ----------
    host
        Holds what serves.
    registry
        Keeps the two versions of a trial, and is pinned by a refusal.
    canary
        Who tries, and what they did.
    send
        Sends announcements.
    """

    def __init__(
        self, host: ModelHost, registry: Registry, canary: Canary, send: Callable[[Announcement], None]
    ) -> None:
        self.host, self.canary = host, canary
        self._registry, self._send = registry, send
        self._waiting = ""
        self._noted: Trial | None = None

    @property
    def under_way(self) -> bool:
        """Whether a version is on trial."""
        return self.canary.trial is not None

    def offer(self, version: str) -> bool:
        """Try a version; False where it is to serve at once, because nothing is tried here."""
        if not self.canary.on or self.host.current is None or self.host.pinned:
            return False
        if self.under_way:
            self._waiting = version
            return True
        try:
            model = self.host.prepare(version)
        except (ExporterError, OSError) as error:
            _log.warning("%s %s is not tried: %s", self.host.name, version, error)
            return True
        self.canary.begin(model)
        self._note(Trial(version=version, stable=self.host.version, share=self.canary.rules.share, since_ms=_now_ms()))
        return True

    def resume(self) -> None:
        """Go on with the trial that was under way when a server stopped."""
        trial, current = self._registry.trial(self.host.name), self.host.current
        if trial is None or current is None or self.host.pinned or not self.canary.on:
            return
        if _now_ms() - trial.since_ms > 1_000 * _RESUMED_SECONDS:
            return
        try:
            self.host.take(self.host.prepare(trial.stable))
        except (ExporterError, OSError) as error:
            _log.warning("the trial of %s is over: %s", trial.version, error)
            return
        self.offer(current.version)

    def judge(self) -> None:
        """End the trial where it has seen enough."""
        trial = self.canary.trial
        if trial is None:
            return
        complaint = self.canary.complaint()
        if complaint:
            self._refuse(trial.version, f"canary: {complaint}")
        elif self.canary.due():
            self.host.take(trial)
            metrics.CANARIES.labels(self.host.name, "passed").inc()
            waiting = self._waiting
            self.cancel()
            if waiting and not self.offer(waiting):
                self.host.swap(waiting)  # trials have been turned off
        elif self._noted is not None and self._noted.share != self.canary.rules.share:  # a reload
            self._note(structs.replace(self._noted, share=self.canary.rules.share))

    def cancel(self) -> None:
        """Forget the trial; what serves goes on serving."""
        self._waiting = ""
        if self.under_way:
            self.canary.end()
            self._registry.note_trial(self.host.name, None)
            self._noted = None

    def _note(self, trial: Trial) -> None:
        self._registry.note_trial(self.host.name, trial)
        self._noted = trial
        _log.info("%s %s is on trial with %.0f %% of the users", self.host.name, trial.version, 100 * trial.share)

    def _refuse(self, version: str, reason: str) -> None:
        _log.warning("%s %s is refused: %s", self.host.name, version, reason)
        name, stable = self.host.name, self.host.version
        metrics.CANARIES.labels(name, "refused").inc()
        self.host.rollback(stable)
        try:
            pointer = self._registry.rollback(name, stable, reason)
            told = announcement_of(
                self._registry, self._registry.manifest(name, pointer.version), "rolled_back", reason
            )
        except ExporterError as error:
            _log.error("%s stays at %s here alone: %s", name, stable, error)
        else:
            refused = Announcement(name=name, kind="refused", version=version, reason=reason, time_ms=_now_ms())
            self._send(refused)
            self._send(told)
        self.cancel()


def canary_of(serving: Serving) -> Canary:
    """Make the canary of the settings."""
    return Canary(canary_rules_of(serving), serving.assignment_salt)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
