"""From alarms to actions: which, for how long, how often, and the way back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from exporters.errors import ExporterError
from streamer.drift.hands import Hand, Values
from streamer.drift.records import Action, ActionState, Alarm, Request, identity
from streamer.drift.settings import Drift
from streamer.errors import HeadwaterError

_MOST_STANDING = 20  # errands that may still be reverted


@dataclass(frozen=True)
class Running:
    """An action that has begun, and what to put back when it ends."""

    action: Action
    before: Values


class Policy:
    """Begins actions for alarms, ends them when their time is over, takes them back when asked.

    The clock is the number of learned examples, so that a trainer that was away for an hour goes on where it was.
    Two actions of one kind never run together, and between the beginnings of two lie at least
    ``drift.cooldown_examples``. In dry-run mode everything is decided and recorded, and nothing is changed.

    Parameters
    ----------
    settings
        Mode, which actions, how long.
    model
        Name in the records.
    hands
        Action kind -> what it changes. Kinds that have none are refused.
    """

    def __init__(self, settings: Drift, model: str, hands: dict[str, Hand]) -> None:
        self.settings, self.model, self.hands = settings, model, hands
        self.running: dict[str, Running] = {}  # by action id
        self._begun: dict[str, int] = {}  # kind -> learned examples at its last beginning

    def alarmed(self, alarm: Alarm, learned: int) -> list[Action]:
        """Decide about an alarm; returns what was done, as records."""
        kinds = self.settings.actions.get(alarm.signal, [])
        return [self._begin(kind, learned, alarm.id, alarm.text) for kind in kinds]

    def tick(self, learned: int) -> list[Action]:
        """End what has lasted long enough."""
        over = [one for one in self.running.values() if 0 < one.action.until_example <= learned]
        return [self._end(one, "ended", "its time is over") for one in over]

    def asked(self, request: Request, learned: int) -> list[Action]:
        """Do what an operator wants; a wish that cannot be met is answered with a refusal."""
        if request.wish == "start":
            return [self._begin(request.subject, learned, "", request.reason or "asked for", forced=True)]
        found = self.running.get(request.subject)
        if found is None:
            return [self._record(request.subject, "unknown", "refused", reason="no such action is active")]
        return [self._end(found, "reverted", request.reason or "asked for")]

    def end_all(self) -> list[Action]:
        """Put back everything that lasts."""
        lasting = [one for one in self.running.values() if self.hands[one.action.kind].lasting]
        return [self._end(one, "ended", "the drift monitor is switched off") for one in lasting]

    def active(self) -> Mapping[str, int]:
        """Count the active actions of each kind that has a hand."""
        kinds = [one.action.kind for one in self.running.values() if self.hands[one.action.kind].lasting]
        return {kind: kinds.count(kind) for kind in self.hands}

    def amount(self, kind: str) -> float:
        """By how much an action of this kind changes what it changes."""
        return {"learning_rate": self.settings.learning_rate_factor, "replay": self.settings.replay_share}.get(
            kind, 1.0
        )

    def _begin(self, kind: str, learned: int, alarm: str, reason: str, forced: bool = False) -> Action:
        action_id = identity(self.model, kind, learned, alarm)
        refusal = self._refusal(kind, learned, forced)
        if refusal:
            return self._record(action_id, kind, "refused", alarm=alarm, reason=refusal)
        self._begun[kind] = learned
        hand = self.hands[kind]
        until = learned + self.settings.for_examples if hand.lasting else 0
        span: dict[str, Any] = {"amount": self.amount(kind), "from_example": learned, "until_example": until}
        if self.settings.mode != "act" and not forced:
            return self._record(action_id, kind, "dry-run", alarm=alarm, reason=reason, **span)
        before = hand.read()
        action = self._record(action_id, kind, "started", alarm=alarm, reason=reason, **span)
        try:
            hand.change(before, action.amount, reason)
        except (ExporterError, HeadwaterError) as error:
            return self._record(action_id, kind, "refused", alarm=alarm, reason=str(error))
        self.running[action_id] = Running(action, before)
        self._let_go()
        return action

    def _refusal(self, kind: str, learned: int, forced: bool) -> str:
        if kind not in self.hands:
            return f"{kind!r} cannot be done here; there are {', '.join(self.hands)}"
        if self.hands[kind].lasting and any(one.action.kind == kind for one in self.running.values()):
            return "one of this kind is active"
        waited = learned - self._begun.get(kind, learned - self.settings.cooldown_examples)
        if waited < self.settings.cooldown_examples and not forced:
            return f"the last one began {waited} examples ago; drift.cooldown_examples is larger"
        return ""

    def _end(self, one: Running, state: ActionState, reason: str) -> Action:
        del self.running[one.action.id]
        self.hands[one.action.kind].put_back(one.before)
        return msgspec.structs.replace(one.action, state=state, reason=reason, time_ms=_now_ms())

    def _let_go(self) -> None:
        """Forget the oldest errands: what was done long ago is not taken back any more."""
        standing = [key for key, one in self.running.items() if not self.hands[one.action.kind].lasting]
        for key in standing[:-_MOST_STANDING]:
            del self.running[key]

    def _record(self, action_id: str, kind: str, state: ActionState, **fields: Any) -> Action:
        return Action(id=action_id, model=self.model, kind=kind, state=state, time_ms=_now_ms(), **fields)

    def state_dict(self) -> dict[str, Any]:
        """Return what is active and what to put back, and when each kind was begun."""
        running = [(msgspec.to_builtins(one.action), one.before) for one in self.running.values()]
        return {"running": running, "begun": dict(self._begun)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue: what was active is put in place again, and ends as it would have."""
        self._begun = {kind: int(number) for kind, number in state["begun"].items()}
        for values, before in state["running"]:
            one = Running(msgspec.convert(values, Action), [float(value) for value in before])
            if one.action.kind in self.hands:
                self.running[one.action.id] = one
                self.hands[one.action.kind].change(one.before, one.action.amount, "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
