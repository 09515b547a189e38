from __future__ import annotations

import math

import pytest
import torch

from online_models.encoders.intents import (
    Intent,
    IntentVector,
    age_labels,
    category_overlap,
    familiarity_labels,
)
from online_models.vocabulary import AGE_EDGES_DAYS

DAY = 86_400.0


def test_one_answer_is_a_softmax_and_several_are_sigmoids() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert Intent(name="a", classes=2).probabilities(logits).tolist()[0] == pytest.approx([0.25, 0.75])
    assert Intent(name="a", classes=2, several=True).probabilities(logits).tolist()[0] == pytest.approx([0.5, 0.75])


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    one, many = Intent(name="a", classes=2), Intent(name="a", classes=2, several=True)
    second, both, none = torch.tensor([[0.0, 1.0]]), torch.ones(1, 2), torch.zeros(1, 2)
    assert one.losses(logits, second).item() == pytest.approx(-math.log(0.75))
    assert one.losses(logits, both).item() == pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2)
    assert many.losses(logits, second).item() == pytest.approx(-math.log(0.5) - math.log(0.75))
    assert one.losses(logits, none).item() == many.losses(logits, none).item() == 0, "nobody knows: nothing to learn"


def test_the_intent_vector_is_a_mean_weighed_by_attention() -> None:
    feed = IntentVector([1, 1], dimension=2)
    with torch.no_grad():
        for projection, value in zip(feed.projections, ([1.0, 0.0], [0.0, 1.0]), strict=True):
            projection.weight.copy_(torch.tensor(value)[:, None])
            projection.bias.zero_()
        feed.attention.weight.copy_(torch.tensor([[math.log(4.0), 0.0]]))
    mixed = feed([torch.ones(1, 1), torch.ones(1, 1)])
    assert mixed.tolist()[0] == pytest.approx([0.8, 0.2])


def test_ages_fall_into_their_buckets() -> None:
    days = torch.tensor([-1.0, 0.5, 1.0, 6.9, 8.0, 10_000.0])
    assert age_labels(days * DAY).argmax(-1).tolist() == [0, 0, 1, 1, 2, len(AGE_EDGES_DAYS)]
    assert age_labels(torch.tensor([torch.inf, torch.nan])).sum().item() == 0


def test_familiarity() -> None:
    again, kin = torch.tensor([True, False, False, False]), torch.tensor([False, True, False, False])
    known = torch.tensor([True, True, True, False])
    assert familiarity_labels(again, kin, known).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_overlap() -> None:
    left = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    right = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    assert category_overlap(left, right).tolist() == [True, False, False]
