from __future__ import annotations

import numpy as np
import torch

from online_models.foundation import HistoryStore
from online_models.foundation.judging import recall_of_newest
from online_models.foundation.windows import fixed_latest
from tests.online_models.foundation.planted import FIRST, GROUPS, IN_GROUP, ROWS, learner, observe, world


def continued(store: HistoryStore, users: int = 60) -> None:
    """One new event of each user, of the user's group."""
    random = np.random.default_rng(9)
    for user in range(users):
        store.append(user, FIRST + user % GROUPS * IN_GROUP + int(random.integers(1, IN_GROUP)), 1, 60.0 * 30)


def test_a_trained_model_foresees_what_popularity_does_not() -> None:
    made, store = learner(), world()
    observe(made, store)
    made.fit(store, fixed_latest(10), 60)
    store.learnt()
    continued(store)
    found = recall_of_newest(made, store, rows=ROWS, most_users=1_000)
    assert found["judged"] == 60
    assert found["recall"] > 0.5 > found["popular_recall"], "ten of sixty items are a sixth by chance"


def test_it_changes_nothing_and_draws_so_many_users() -> None:
    made, store = learner(), world()
    observe(made, store)
    store.learnt()
    continued(store)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    one, other = (recall_of_newest(made, store, rows=ROWS, most_users=7, seed=3) for _ in range(2))
    assert one == other and one["judged"] == 7
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())
    assert len(store.fresh_users()) == 60


def test_users_without_a_past_and_items_not_in_use_are_passed_over() -> None:
    made, store = learner(), HistoryStore()
    store.append("new", 5, 1, 1.0)
    for item in (5, 6):
        store.append("known", item, 1, 1.0)
        store.append("of an unknown item", item if item == 5 else 1, 1, 1.0)
        store.append("of a row not in use", item if item == 5 else ROWS - 1, 1, 1.0)
    assert recall_of_newest(made, store, rows=10, most_users=9)["judged"] == 1


def test_what_the_model_reads_is_not_in_the_lists() -> None:
    made, store = learner(), HistoryStore()
    rows = [FIRST + row for row in range(12)]
    for row in rows:
        store.append("ada", row, 1, 60.0 * row)
    made.observe(np.repeat(rows, 3), np.zeros(36))
    made.observe(np.array(rows[-1:]), np.zeros(1))
    found = recall_of_newest(made, store, rows=FIRST + 12, most_users=1, k=1)
    assert found["popular_recall"] == 1, "the newest is the most popular of what the window leaves"
