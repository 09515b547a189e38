from __future__ import annotations

import numpy as np
import pytest

from online_models.counting import Transitions


def test_shares_of_what_came_next() -> None:
    learner = Transitions(rows=8, width=4)
    for history, target in (([2], 3), ([9, 2], 3), ([2], 4), ([3], 2)):
        learner.observe(np.array(history), target)
    items, weights = learner.best(2, 5)
    assert items.tolist() == [3, 4] and weights.tolist() == pytest.approx([2 / 4, 1 / 4])
    assert learner.best(3, 5)[0].tolist() == [2], "the way back is a pair of its own"
    assert learner.item_counts[2] == 3, "steps out of the item are counted, not events on it"


@pytest.mark.parametrize("history", [[], [0, 0], [1], [5]])
def test_no_step_without_a_known_other_item(history: list[int]) -> None:
    learner = Transitions(rows=8, width=4)
    learner.observe(np.array(history, np.int64), 5)
    assert learner.pairs.items.sum() == 0 and learner.touched() == []


def test_only_the_newest_known_item_counts() -> None:
    learner = Transitions(rows=8, width=4)
    learner.observe(np.array([2, 3, 1, 0]), 4)
    assert learner.touched() == [3]
