from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from online_models.batch import Batch, Candidates
from online_models.checks import example_batch
from streamer.drift.readings import read


def batch_of(labels: list[list[float]], retrieved: list[list[bool]]) -> Batch:
    """Candidates 2, 3, … of which some were taken and some offered."""
    number, width = len(labels), len(labels[0])
    given = example_batch(seed=1)
    index = torch.arange(number)
    context = replace(given.context, **{f: getattr(given.context, f)[index] for f in given.context.__slots__})
    items = torch.arange(2, 2 + width).repeat(number, 1)  # [B, N]
    candidates = Candidates(
        items=items, source_scores=torch.zeros(number, width, 1), features=torch.zeros(number, width, 1)
    )
    return Batch(
        context=context,
        candidates=candidates,
        labels=torch.tensor(labels),
        log_q=torch.zeros(number, width),
        weights=torch.ones(number),
        actions=torch.ones(number, dtype=torch.int64),
        retrieved=torch.tensor(retrieved),
    )


def test_the_rank_is_a_logarithm_and_lies_past_the_end_for_what_was_not_offered() -> None:
    batch = batch_of(
        [[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        [[True] * 4, [True] * 4, [True, True, True, False]],
    )
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]] * 3)  # [B, N]
    found = read(batch, scores, scores, None, torch.zeros(3))
    assert found.places == [0, 1, 2]
    assert found.values["ranks"] == pytest.approx([2.0, 0.0, 2.585], abs=1e-3)
    assert found.values["hits"] == [1.0, 1.0, 0.0] and found.values["quality"] == [0.0, 0.0, 0.0]


def test_ties_count_against_the_ranking() -> None:
    found = read(batch_of([[1.0, 0.0]], [[True, True]]), torch.zeros(1, 2), torch.zeros(1, 2), None, torch.zeros(1))
    assert found.values["ranks"] == [1.0]


def test_a_list_without_an_answer_is_left_out() -> None:
    batch = batch_of([[0.0, 0.0], [1.0, 0.0]], [[True, True]] * 2)
    found = read(batch, torch.zeros(2, 2), torch.zeros(2, 2), None, torch.zeros(2))
    assert found.places == [1] and all(len(values) == 1 for values in found.values.values())
