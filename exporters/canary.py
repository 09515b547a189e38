r"""A new version on trial: a share of the users gets it before all others do.

Both arms count what they served in the same time. With lists :math:`n`, of which users took up :math:`h`, the newcomer
is worse when

.. math:: \frac{h_0}{n_0} - \frac{h_1}{n_1} - z \sqrt{\frac{h_0}{n_0^2} + \frac{h_1}{n_1^2}} > \delta\,\frac{h_0}{n_0}

(counts taken as Poisson), and likewise when clearly more of its lists are fall-backs. Without evidence it passes: the
gate has judged it already.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exporters.assignment import Assignment
from exporters.runtime import LoadedModel

STABLE, CANARY = "stable", "canary"


@dataclass(frozen=True, kw_only=True)
class CanaryRules:
    """How a version is tried.

    Parameters
    ----------
    share
        Of the users; 0 turns trials off.
    seconds
        A trial ends then, whatever it has seen.
    lists
        Or as soon as the newcomer has made so many lists.
    fewest
        With fewer lists in either arm nothing is said.
    margin
        delta: the part of the hit rate, and the share of fall-backs, that is put up with.
    z
        Standard errors of doubt in favour of the newcomer.
    """

    share: float = 0.0
    seconds: float = 60.0
    lists: int = 1_000
    fewest: int = 50
    margin: float = 0.1
    z: float = 3.0


@dataclass
class Arm:
    """What one arm has served."""

    lists: int = 0
    fallbacks: int = 0
    hits: int = 0


class Canary:
    """Which users a version on trial answers, and what came of it.

    Parameters
    ----------
    rules
        Share and patience.
    salt
        Another salt draws other users.
    clock
        Monotonic seconds.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> canary = Canary(CanaryRules(share=0.5, fewest=2, lists=4))
    >>> canary.begin(SimpleNamespace(version="2"))
    >>> for user in map(str, range(40)):
    ...     canary.count_list(user, fallback=canary.tries(user)); canary.count_outcome(user)
    >>> "fall-backs" in canary.complaint()
    True
    """

    def __init__(self, rules: CanaryRules, salt: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.rules, self._clock = rules, clock
        self.trial: LoadedModel | None = None
        self._arms = {STABLE: Arm(), CANARY: Arm()}
        self._users, self._salt = _users(rules, salt), salt
        self._began = 0.0
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        """Whether versions are tried at all."""
        return self.rules.share > 0

    def tries(self, user_id: str) -> bool:
        """Whether a user belongs to those who try; always the same ones."""
        return self.on and self._users.of(user_id) == CANARY

    def begin(self, model: LoadedModel) -> None:
        """Start a trial; counts start at 0."""
        with self._lock:
            self._arms = {STABLE: Arm(), CANARY: Arm()}
            self.trial, self._began = model, self._clock()

    def change(self, rules: CanaryRules, salt: str = "") -> None:
        """Go on by other rules, a trial under way too: where other users try, both arms count anew; its time runs on.

        Without a share the trial is due at once.
        """
        with self._lock:
            if (rules.share, salt) != (self.rules.share, self._salt):
                self._users, self._salt = _users(rules, salt), salt
                self._arms = {STABLE: Arm(), CANARY: Arm()} if rules.share > 0 else self._arms
            self.rules = rules

    def end(self) -> None:
        """End the trial: everybody gets what serves."""
        self.trial = None

    def count_list(self, user_id: str, *, fallback: bool) -> None:
        """Count a list of a user."""
        if self.trial is not None:
            with self._lock:
                arm = self._arm(user_id)
                arm.lists, arm.fallbacks = arm.lists + 1, arm.fallbacks + fallback

    def count_outcome(self, user_id: str) -> None:
        """Count that a user took something from a list."""
        if self.trial is not None:
            with self._lock:
                self._arm(user_id).hits += 1

    def complaint(self) -> str:
        """Say what is worse with the newcomer; empty where nothing clearly is."""
        with self._lock:
            old, new = self._arms[STABLE], self._arms[CANARY]
            if min(old.lists, new.lists) < self.rules.fewest:
                return ""
            return self._fewer_hits(old, new) or self._more_fallbacks(old, new)

    def due(self) -> bool:
        """Whether the trial has seen enough, or run long enough."""
        seconds = self._clock() - self._began
        return not self.on or seconds >= self.rules.seconds or self._arms[CANARY].lists >= self.rules.lists

    def describe(self) -> dict[str, Any] | None:
        """Show the trial under way; None without one."""
        if self.trial is None:
            return None
        arms = {name: {"lists": a.lists, "hits": a.hits, "fallbacks": a.fallbacks} for name, a in self._arms.items()}
        return {"version": self.trial.version, "share": self.rules.share, **arms}

    def _arm(self, user_id: str) -> Arm:
        return self._arms[CANARY if self.tries(user_id) else STABLE]

    def _fewer_hits(self, old: Arm, new: Arm) -> str:
        before, now = old.hits / old.lists, new.hits / new.lists
        doubt = self.rules.z * math.sqrt(old.hits / old.lists**2 + new.hits / new.lists**2)
        if before - now - doubt <= self.rules.margin * before:
            return ""
        return f"{now:.3f} interactions a list over {new.lists} lists, against {before:.3f} over {old.lists}"

    def _more_fallbacks(self, old: Arm, new: Arm) -> str:
        before, now = old.fallbacks / old.lists, new.fallbacks / new.lists
        doubt = self.rules.z * math.sqrt(old.fallbacks / old.lists**2 + new.fallbacks / new.lists**2)
        if now - before - doubt <= self.rules.margin:
            return ""
        return f"{now:.1%} of {new.lists} lists are fall-backs, against {before:.1%} of {old.lists}"


def _users(rules: CanaryRules, salt: str) -> Assignment:
    return Assignment({STABLE: 1 - rules.share, CANARY: rules.share}, f"canary\0{salt}")
