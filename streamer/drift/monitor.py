"""The drift monitor of one student: signals in, alarms out, and what is done about them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import Batch
from streamer import metrics
from streamer.drift import readings
from streamer.drift.evidence import Evidence, Seen
from streamer.drift.hands import Hand, LearningRate, Replay
from streamer.drift.movement import Movement
from streamer.drift.policy import Policy
from streamer.drift.records import Action, Alarm, Record, Request, identity
from streamer.drift.shadow import Shadow
from streamer.drift.signals import Found, Signals
from streamer.examples import Example
from streamer.network import Network
from streamer.replay_buffer import ReplayBuffer
from streamer.settings import Settings

_SHOWN_EVERY = 16  # micro-batches from one look at the levels to the next


class Monitor:
    """Watches a student learn, and acts by the policy of ``drift.*``.

    Call :meth:`test` with scores made before a batch is learnt, and :meth:`observe` with every micro-batch after it.

    Parameters
    ----------
    settings
        The group ``drift`` and the student's name.
    network
        What is watched, and whose learning rate an action may raise.
    replay
        Whose share an action may raise.
    categories_of
        Categories of an item by id, empty where they are not known.

    Attributes
    ----------
    hands
        What actions can change; a process adds what only it can do.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        replay: ReplayBuffer,
        categories_of: Callable[[str], Sequence[str]],
    ) -> None:
        self.model = settings.learning.name
        self.hands: dict[str, Hand] = {
            "learning_rate": LearningRate(network.learner.optimizer),
            "replay": Replay(replay),
        }
        self.policy = Policy(settings.drift, self.model, self.hands)
        self.signals = Signals(settings.drift)
        self.shadow = Shadow(network.ranker, settings.drift.shadow_examples)
        self.learned = 0
        self.requests_read = -1  # offset on the topic from which requests are still to be read
        self._network, self._categories_of = network, categories_of
        self._movement, self._evidence = Movement(), Evidence()
        self._records: list[Record] = []
        self._batches = 0
        self._dismissed: Counter[str] = Counter()  # as the metric knows it

    @property
    def suspicious(self) -> bool:
        """Whether the next batches should be tested, however seldom batches are tested."""
        return self.signals.suspicious

    def test(self, batch: Batch, examples: Sequence[Example], served: Tensor, popular: Tensor, vectors: Tensor) -> None:
        """Take scores [B, N] that were made before the batch was learnt, and the users' vectors [B, D] of that time."""
        movement = self._movement.observe([example.user_id for example in examples], vectors)
        frozen = self.shadow.score(batch.context, batch.candidates)
        for found in self.signals.test(readings.read(batch, served, popular, frozen, movement), self.learned):
            self._alarm(found)

    def observe(self, examples: Sequence[Example]) -> None:
        """Take examples that have been learnt, tested or not."""
        for number, example in enumerate(examples, start=self.learned):
            categories = tuple(self._categories_of(example.item_id)) if example.item_id else ()
            self._evidence.add(Seen(number, example.event_time_ms, categories, example.surface or "(none)"))
            for found in self.signals.observe(example, categories, number):
                self._alarm(found)
        self.learned += len(examples)
        self._note(self.policy.tick(self.learned))
        if self.shadow.refresh(self.learned):
            self.signals.harm.restart()
        self._batches += 1
        if self._batches % _SHOWN_EVERY == 0:
            self._show()

    def ask(self, request: Request) -> None:
        """Do what an operator wants, where it is meant for this model."""
        if request.model == self.model:
            self._note(self.policy.asked(request, self.learned))

    def take_records(self) -> list[Record]:
        """Alarms and actions since this was last called."""
        taken, self._records = self._records, []
        return taken

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Give rows [K] whose item has left a fresh start in the frozen copy too."""
        self.shadow.forget(rows)

    def state_dict(self) -> dict[str, Any]:
        """Return what is active, and the latest values of the signals."""
        return {
            "learned": self.learned,
            "requests_read": self.requests_read,
            "policy": self.policy.state_dict(),
            "signals": self.signals.state_dict(),
            "movement": self._movement.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; the network and the replay must have theirs already."""
        self.learned, self.requests_read = int(state["learned"]), int(state["requests_read"])
        self.signals = Signals(self.policy.settings)
        self._movement.load_state_dict(state["movement"])
        self.signals.load_state_dict(state["signals"])
        self.policy.load_state_dict(state["policy"])

    def _alarm(self, found: Found) -> None:
        shift, since = found.shift, found.since_example
        alarm = Alarm(
            id=identity(self.model, found.signal, since, self.learned),
            model=self.model,
            signal=found.signal,
            detector=found.detector,
            since_example=since,
            until_example=self.learned,
            since_ms=self._evidence.time_of(since),
            until_ms=self._evidence.last_ms,
            statistic=round(shift.statistic, 4),
            before=shift.before,
            after=shift.after,
            moved=found.moved + self._evidence.moved(since),
            time_ms=time.time_ns() // 1_000_000,
        )
        self._records.append(alarm)
        metrics.DRIFT_ALARMS.labels(model=self.model, signal=found.signal).inc()
        size = shift.before.examples + shift.after.examples
        metrics.DRIFT_EVIDENCE.labels(model=self.model, signal=found.signal).set(size)
        self._note(self.policy.alarmed(alarm, self.learned))

    def _note(self, actions: list[Action]) -> None:
        self._records += actions
        for action in actions:
            metrics.DRIFT_ACTIONS.labels(model=self.model, kind=action.kind, state=action.state).inc()
        if actions:
            self._show()

    def _show(self) -> None:
        for kind, number in self.policy.active().items():
            metrics.DRIFT_ACTIVE.labels(model=self.model, kind=kind).set(number)
        for signal, (level, before) in self.signals.levels().items():
            metrics.DRIFT_SIGNAL.labels(model=self.model, signal=signal).set(level)
            metrics.DRIFT_REFERENCE.labels(model=self.model, signal=signal).set(before)
        for signal, number in self.signals.dismissed().items():
            metrics.DRIFT_DISMISSED.labels(model=self.model, signal=signal).inc(number - self._dismissed[signal])
            self._dismissed[signal] = number
