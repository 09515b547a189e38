from __future__ import annotations

import numpy as np
import pytest

from online_models.counting import Cooccurrence


def weights(learner: Cooccurrence, row: int) -> dict[int, float]:
    items, values = learner.best(row, 10)
    return dict(zip(items.tolist(), values.tolist(), strict=True))


def test_each_step_back_loses_a_factor_and_the_direction_counts() -> None:
    learner = Cooccurrence(rows=8, width=4, decay=0.5)
    # 2, 3, 4: c(3→4) = 1, c(2→4) = .5, c(2→3) = 1; each item taken once: divided by sqrt(1 + 1)
    for history, target in (([], 2), ([2], 3), ([2, 3], 4)):
        learner.observe(np.array(history, np.int64), target)
    assert weights(learner, 2) == pytest.approx({3: 1 / np.sqrt(2), 4: 0.5 / np.sqrt(2)})
    assert weights(learner, 3) == pytest.approx({4: 1 / np.sqrt(2)})
    assert weights(learner, 4) == {}


def test_an_item_that_is_often_taken_says_less() -> None:
    learner = Cooccurrence(rows=8, width=4)
    learner.observe(np.array([2]), 3)
    before = weights(learner, 2)[3]
    for _ in range(3):
        learner.observe(np.array([], np.int64), 2)
    assert before == pytest.approx(1.0) and weights(learner, 2)[3] == pytest.approx(1 / np.sqrt(4))


def test_a_repeat_in_the_history_counts_at_its_newest_place() -> None:
    learner = Cooccurrence(rows=8, width=4, decay=0.5)
    learner.observe(np.array([2, 3, 2]), 4)
    assert learner.pairs.lookup(np.array([2, 3]))[1].max(1).tolist() == [1.0, 0.5]


def test_nothing_reaches_past_the_window() -> None:
    learner = Cooccurrence(rows=8, width=4, window=1)
    learner.observe(np.array([2, 3]), 4)
    assert weights(learner, 2) == {} and set(weights(learner, 3)) == {4}


def test_eviction_takes_the_weakest_follower() -> None:
    learner = Cooccurrence(rows=9, width=2, decay=0.5)
    for history, target in (([2], 3), ([2, 8], 4), ([2], 5)):  # 3: 1, 4: .5, then 5: 1
        learner.observe(np.array(history), target)
    assert set(weights(learner, 2)) == {3, 5}
