from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from online_models.bucketing import sequences
from online_models.evaluation.interactions import Histories
from online_models.learner import seeded
from online_models.sequences import Sequences
from online_models.zoo.sasrec import SASRec


@pytest.fixture
def ranker() -> SASRec:
    with seeded(3):
        model = SASRec(SASRec.Config(catalog_rows=40, dimension=16, history=12, initial_deviation=0.5))
    return model.eval()


def some(*lengths: int) -> Sequences:
    draw = np.random.default_rng(1)
    return sequences(Histories.of([draw.integers(2, 40, length).tolist() for length in lengths]), 50)


def test_a_later_event_changes_no_earlier_state(ranker: SASRec) -> None:
    given = some(9, 9, 4)
    changed = given.items.clone()
    changed[:, 6] = 2 + (changed[:, 6] - 1) % 38
    before, after = ranker.encode(given), ranker.encode(replace(given, items=changed))
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6:] != after[:, 6:]).any(2).all(), "the event and all after it see the change"


def test_a_bucket_of_one_length_equals_a_padded_batch(ranker: SASRec) -> None:
    together = ranker.encode(some(8, 5, 3))  # masked: padding in front
    for row, alone in enumerate((some(8), some(8, 5), some(8, 5, 3))):
        length = (8, 5, 3)[row]
        one = replace(alone, items=alone.items[row : row + 1, -length:])  # no padding: no mask
        torch.testing.assert_close(ranker.encode(one)[0], together[row, -length:])


def test_the_newest_state_is_the_last_of_all_states(ranker: SASRec) -> None:
    given = some(8, 5, 1)
    torch.testing.assert_close(ranker.newest_state(given), ranker.encode(given)[:, -1])


def test_no_more_than_the_window_is_read(ranker: SASRec) -> None:
    long = some(30)
    cut = replace(long, items=long.items[:, -12:])
    torch.testing.assert_close(ranker.newest_state(long), ranker.newest_state(cut))


def test_the_order_of_a_history_matters(ranker: SASRec) -> None:
    given = some(6)
    swapped = replace(given, items=given.items[:, [1, 0, 2, 3, 4, 5]])
    assert not torch.allclose(ranker.newest_state(given), ranker.newest_state(swapped), atol=1e-4)


def test_the_served_graph_gives_the_same_state(ranker: SASRec) -> None:
    given = some(12, 7)
    graph = ranker.graphs()["encode"]
    served = graph.module(history_vectors=ranker.items(given.items), history_mask=given.mask.float())
    torch.testing.assert_close(served, ranker.newest_state(given))
