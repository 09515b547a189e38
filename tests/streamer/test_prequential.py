from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from online_models.batch import Batch
from online_models.checks import example_batch
from streamer.prequential import Prequential, ranks_of_taken

SCORES = torch.tensor([[5.0, 4.0, 3.0, 2.0]])


def batch(place: int | None = 1, drawn: tuple[int, ...] = ()) -> Batch:
    """One example of four candidates: which was taken, which serving would not have offered."""
    made = example_batch(seed=1, examples=1, candidates=4)
    labels, retrieved = torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool)
    retrieved[:, list(drawn)] = False
    if place is not None:
        labels[0, place] = 1
    return replace(made, labels=labels, retrieved=retrieved)


def rank(made: Batch, scores: Tensor = SCORES) -> list[int]:
    return ranks_of_taken(made, scores)


def test_ranks_among_what_was_retrieved() -> None:
    assert [rank(batch(place))[0] for place in range(4)] == [1, 2, 3, 4]
    assert [rank(batch(place), -SCORES)[0] for place in range(4)] == [4, 3, 2, 1]


def test_drawn_negatives_are_no_candidates_of_serving() -> None:
    assert rank(batch(0, drawn=(3,)), -SCORES) == [3]
    assert rank(batch(0, drawn=(2, 3)), -SCORES) == [2]


def test_a_target_that_nobody_retrieved_is_a_miss_whatever_its_score() -> None:
    assert rank(batch(2, drawn=(2, 3)), SCORES + 10 * batch(2).labels)[0] > 10_000


def test_ties_count_against_the_scorer() -> None:
    assert rank(batch(0), torch.zeros(1, 4)) == [4]


def test_padding_does_not_count() -> None:
    made = batch(0)
    items = made.candidates.items.clone()
    items[0, 2:] = 0
    assert rank(replace(made, candidates=replace(made.candidates, items=items)), -SCORES) == [2]


def test_only_examples_with_one_item_taken_are_ranked() -> None:
    two = batch(0)
    two.labels[0, 1] = 1
    assert rank(batch(None)) == rank(two) == []


def test_figures_by_hand() -> None:
    prequential = Prequential()
    assert prequential.read() == {}
    for place in (0, 2):
        prequential.observe(batch(place), {"served": SCORES, "reversed": -SCORES})
    prequential.observe(batch(2, drawn=(2,)), {"served": SCORES, "reversed": -SCORES})
    assert prequential.read() == pytest.approx(
        {
            "hr@10": 2 / 3,
            "ndcg@10": (1 / np.log2(2) + 1 / np.log2(4)) / 3,
            "reversed_hr@10": 2 / 3,
            "reversed_ndcg@10": (1 / np.log2(5) + 1 / np.log2(3)) / 3,
        }
    )


def test_only_the_latest_examples_count() -> None:
    prequential = Prequential(window=2)
    prequential.observe(batch(2, drawn=(2,)), {"served": SCORES})
    for _ in range(2):
        assert prequential.read()["hr@10"] < 1
        prequential.observe(batch(0), {"served": SCORES})
    assert prequential.read()["hr@10"] == 1


def test_rank_eleven_is_no_hit() -> None:
    made = example_batch(seed=1, examples=2, candidates=13)
    made = replace(made, labels=torch.eye(13)[9:11])
    prequential = Prequential()
    prequential.observe(made, {"served": -torch.arange(13.0).expand(2, 13)})
    assert prequential.read() == pytest.approx({"hr@10": 1 / 2, "ndcg@10": 1 / np.log2(11) / 2})
