from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.checks import SIZES, example_batch
from online_models.counting import Cooccurrence, ItemKNN, Transitions
from online_models.counting.pairs import PairLearner, newest_distinct

KINDS = (ItemKNN, Cooccurrence, Transitions)


def walk(learner: PairLearner, *items: int) -> None:
    """One user takes the items one after the other."""
    for place, item in enumerate(items):
        learner.observe(np.array(items[:place], np.int64), item)


@pytest.mark.parametrize(
    ("history", "last", "target", "items", "steps"),
    [
        ([], 3, 9, [], []),
        ([0, 0, 1], 3, 9, [], []),  # padding and the unknown item are nobody
        ([5, 6, 7], 2, 9, [7, 6], [0, 1]),
        ([5, 6, 5], 3, 9, [5, 6], [0, 1]),  # a repeat counts where it was last
        ([5, 9, 6], 3, 9, [6, 5], [0, 2]),  # the target itself is no partner, but it takes its step
        ([5, 1, 6], 2, 9, [6, 5], [0, 1]),  # the unknown item takes none
    ],
)
def test_newest_distinct(history, last, target, items, steps) -> None:
    found, back = newest_distinct(np.array(history, np.int64), last, target)
    assert (found.tolist(), back.tolist()) == (items, steps)


@pytest.mark.parametrize("kind", KINDS)
def test_only_known_positives_are_counted(kind) -> None:
    learner, batch = kind(rows=SIZES.rows, width=8), example_batch(seed=2, examples=3, candidates=4)
    items, labels = torch.tensor([[1, 5, 6, 7]] * 3), torch.zeros(3, 4)  # row 1: an item that has no row
    labels[0, 0] = labels[1, 1] = labels[1, 2] = 1  # two are taken from the second slate, nothing from the third
    histories = torch.tensor([[0, 2], [0, 3], [0, 4]])
    candidates, context = replace(batch.candidates, items=items), replace(batch.context, history_items=histories)
    batch = replace(batch, candidates=candidates, context=context, labels=labels)
    assert learner.learn(batch) == {"counted": 2.0}
    assert set(learner.best(3, 8)[0].tolist()) == {5, 6}
    assert learner.best(2, 8)[0].size == learner.best(4, 8)[0].size == learner.item_counts[1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_touched_rows_are_exactly_those_whose_published_list_changed(kind) -> None:
    learner = kind(rows=10, width=4)
    walk(learner, 2, 3, 4)
    learner.touched()
    before = [learner.best(row, 4) for row in range(10)]
    learner.observe(np.array([2, 3, 4]), 5)
    after = [learner.best(row, 4) for row in range(10)]
    changed = {
        row
        for row, (old, new) in enumerate(zip(before, after, strict=True))
        if not (np.array_equal(old[0], new[0]) and np.array_equal(old[1], new[1]))
    }
    assert changed and changed <= set(learner.touched())
    assert learner.touched() == [], "each change is told once"


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgotten_row_is_nobodys_neighbour_and_starts_afresh(kind) -> None:
    learner, fresh = kind(rows=10, width=4), kind(rows=10, width=4)
    walk(learner, 2, 3, 4)
    learner.forget(np.array([3]))
    assert 3 not in learner.pairs.items and learner.item_counts[3] == 0
    assert learner.best(3, 4)[0].size == 0
    learner.observe(np.array([7]), 3)
    fresh.observe(np.array([7]), 3)
    for row in (3, 7):
        assert learner.best(row, 4)[1].tolist() == fresh.best(row, 4)[1].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_state_comes_back_and_learning_goes_on_alike(kind) -> None:
    learner, again = kind(rows=10, width=3), kind(rows=10, width=3)
    walk(again, 9, 8, 7)  # what it held before must not shine through
    walk(learner, 2, 3, 4, 2)
    again.load_state_dict(learner.state_dict())
    for one in (learner, again):
        walk(one, 4, 3, 5, 6)
    assert state_tree.equal(learner.state_dict(), again.state_dict())
    assert learner.touched() == again.touched()


def test_a_state_is_a_copy_and_only_as_long_as_the_rows_in_use() -> None:
    learner = ItemKNN(rows=1_000, width=4)
    walk(learner, 2, 5)
    state = learner.state_dict()
    walk(learner, 2, 5)
    assert len(state["items"]) == 6 and state["counts"].sum() == 2


def test_best_is_sorted_cut_and_without_padding() -> None:
    learner = Transitions(rows=10, width=8)
    for target in (4, 5, 5, 6, 6, 6):
        learner.observe(np.array([3]), target)
    items, weights = learner.best(3, 2)
    assert items.tolist() == [6, 5] and weights.tolist() == pytest.approx([3 / 7, 2 / 7])
    assert learner.best(3, 100)[0].tolist() == [6, 5, 4]
