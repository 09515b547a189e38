"""Small logs for the tests of recommenders."""

from __future__ import annotations

import numpy as np

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Recommender


def log_of(events: list[tuple[int, int]], rows: int = 12, users: int = 0) -> Interactions:
    """(user, item) in stream order, a minute apart."""
    size = len(events)
    return Interactions(
        users=np.array([user for user, _ in events], np.int64),
        items=np.array([item for _, item in events], np.int64),
        times_seconds=60.0 * np.arange(size),
        actions=np.ones(size, np.int64),
        values=np.full(size, np.nan, np.float32),
        tested=np.ones(size, bool),
        rows=rows,
        user_count=max([users, *(user + 1 for user, _ in events)]),
    )


def random_log(seed: int = 0, users: int = 15, rows: int = 30, events: int = 150) -> Interactions:
    """Users who take no item twice."""
    draw = np.random.default_rng(seed)
    orders = [draw.permutation(np.arange(2, rows)).tolist() for _ in range(users)]
    return log_of(
        [(user, orders[user].pop()) for user in draw.integers(0, users, events).tolist() if orders[user]], rows
    )


def before(log: Interactions, event: int) -> Histories:
    """History of one event of a log."""
    earlier = np.flatnonzero(log.users[:event] == log.users[event])
    return Histories.of(
        [log.items[earlier].tolist()],
        times_seconds=[log.times_seconds[earlier].tolist()],
        users=[int(log.users[event])],
        now_seconds=[float(log.times_seconds[event])],
    )


def stream(model: Recommender, log: Interactions) -> None:
    """Learn a log one event at a time."""
    for event in range(len(log)):
        model.learn(log.take(slice(event, event + 1)), before(log, event))
