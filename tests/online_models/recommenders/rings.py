"""A planted pattern that popularity cannot know: items follow each other in a circle, all equally often."""

from __future__ import annotations

import numpy as np

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Recommender
from tests.online_models.recommenders.small_logs import before, log_of

SIZE = 10
LENGTH = 5


def ring_log(users: int, seed: int = 0) -> Interactions:
    """One user after the other walks the circle for ``LENGTH`` items from a random start."""
    starts = np.random.default_rng(seed).integers(0, SIZE, users).tolist()
    return log_of(
        [(user, 2 + (start + step) % SIZE) for user, start in enumerate(starts) for step in range(LENGTH)],
        rows=SIZE + 2,
    )


def hit_share(recommender: Recommender) -> float:
    """How often the next item of the circle comes first, over all starts."""
    walks = [[2 + (start + step) % SIZE for step in range(LENGTH - 1)] for start in range(SIZE)]
    scores = recommender.score(Histories.of(walks, users=[0] * SIZE))[:, 2:]
    return float((scores.argmax(1) == (np.arange(SIZE) + LENGTH - 1) % SIZE).mean())


def stream_in_micro_batches(recommender: Recommender, log: Interactions, events: int = 20) -> None:
    """Learn a log ``events`` at a time, each with the history before it."""
    for first in range(0, len(log), events):
        places = range(first, min(first + events, len(log)))
        recommender.learn(log.take(slice(first, first + events)), _joined([before(log, place) for place in places]))


def _joined(parts: list[Histories]) -> Histories:
    return Histories.of(
        [part.items.tolist() for part in parts],
        times_seconds=[part.times_seconds.tolist() for part in parts],
        users=[int(part.users[0]) for part in parts],
        now_seconds=[float(part.now_seconds[0]) for part in parts],
    )
