"""How many events a second the sequence learner takes, and how well it ranks the next one meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from online_models.evaluation.interactions import Histories, Interactions
from online_models.evaluation.protocols.prequential import Plan, run_prequential
from online_models.recommenders import Setting
from online_models.recommenders.history_store import followed
from online_models.recommenders.sequential import SequenceRecommender, sasrec_learner

METRICS = ("hr@10", "hr@10_untied", "ndcg@10", "mrr@10")


@dataclass(frozen=True, kw_only=True)
class LearningSpeed:
    """What one way of learning showed on a stream."""

    name: str
    events: int
    learn_seconds: float
    seconds: float  # with the tests
    metrics: dict[str, float]

    @property
    def learnt_per_second(self) -> float:
        """Events learnt in a second of learning."""
        return self.events / max(self.learn_seconds, 1e-9)

    @property
    def tested_and_learnt_per_second(self) -> float:
        """Events ranked in the whole catalogue and then learnt, in a second on the clock."""
        return self.events / max(self.seconds, 1e-9)


class EventByEvent(SequenceRecommender):
    """The plain form: every event of a micro-batch brings its own padded history, encoded for its one target."""

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Take a step on E histories with one target each, and on as many stored ones."""
        self._set_dropout(self.online.dropout)
        replayed = round(self.online.replay * len(events))
        self._store.extend(events, histories)
        drawn = self._store.draw_windows(replayed, self.history + 1, self._random)
        parts = (followed(histories, events, self.history + 1), drawn)
        self.learner.learn_sequences(*(part.sequences(np.ones(len(part.users), np.int64)) for part in parts))


FORMS: dict[str, type[SequenceRecommender]] = {"whole histories": SequenceRecommender, "event by event": EventByEvent}


def measure(
    log: Interactions,
    form: str,
    *,
    threads: int = 2,
    seed: int = 0,
    dimension: int = 64,
    layers: int = 2,
    history: int = 50,
    most_seconds: float = float("inf"),
    progress: Callable[[int], None] = lambda done: None,
) -> LearningSpeed:
    """Walk a stream, test then train, and clock the learning.

    Parameters
    ----------
    log
        The stream; its first fifth is learnt before any event counts in the metrics.
    form
        A key of :data:`FORMS`.
    threads
        Of torch.
    seed
        Of the learner.
    dimension, layers, history
        Sizes of the SASRec: D, blocks and T.
    most_seconds
        The walk ends then, and what was walked is reported.
    progress
        Told how many more events are done.

    Raises
    ------
    KeyError
        There is no such form.
    """
    cls, walked = FORMS[form], 0

    def make(setting: Setting) -> SequenceRecommender:
        learner = partial(sasrec_learner, setting, dimension=dimension, layers=layers, history=history)
        return cls(learner, setting, history=history)

    def count(done: int) -> None:
        nonlocal walked
        walked += done
        progress(done)

    with _threads(threads):
        plan = Plan(stop_after_seconds=most_seconds)
        found = run_prequential(make, log, seed=seed, plan=plan, progress=count).metrics
    clocked = found["learn_seconds"] + found["score_seconds"]
    metrics = {name: found[name] for name in METRICS if name in found}
    return LearningSpeed(
        name=form, events=walked, learn_seconds=found["learn_seconds"], seconds=clocked, metrics=metrics
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
