from __future__ import annotations

import pytest
import torch

from online_models.distill.diagnosis import (
    confidence_weights,
    relation_labels,
    smoothed_list_loss,
    spread_list_loss,
    target_shares,
)
from online_models.distill.soft_lists import SoftLists


def test_smoothing_is_least_where_all_are_equal_and_leaves_out_what_is_masked() -> None:
    mask = torch.tensor([[True, True, True, False]])
    even, uneven = torch.tensor([[1.0, 1.0, 1.0, 9.0]]), torch.tensor([[3.0, 1.0, 1.0, 9.0]])
    assert float(smoothed_list_loss(even, mask)) == pytest.approx(float(torch.tensor(3.0).log()))
    assert smoothed_list_loss(uneven, mask) > smoothed_list_loss(even, mask)


def test_confident_targets_weigh_more_and_the_mean_stays_one() -> None:
    weights = confidence_weights(torch.tensor([0.5, 0.01, 0.0]))
    assert weights[0] > weights[1] > weights[2] > 0 and float(weights.mean()) == pytest.approx(1)


def test_shares_of_targets_are_those_of_the_whole_softmax_where_kept() -> None:
    scores = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    scores[:, :2] = -torch.inf
    labels = SoftLists.of_scores(scores, 5)
    kept = labels.items[:, 2]
    assert torch.allclose(labels.shares_of(kept), scores.softmax(1)[torch.arange(4), kept])
    least = scores[:, 2:].argmin(1) + 2
    told = 1 - scores.softmax(1).gather(1, labels.items).sum(1)
    found = target_shares(labels.items, labels.logits, labels.remainder, labels.others, least)
    assert torch.allclose(found, told / 5)


def test_a_spread_label_pulls_all_others_alike() -> None:
    student = torch.tensor([[0.0, 0.0, 3.0, -3.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, torch.nan, torch.nan]])
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        spread_list_loss(student, teacher, torch.tensor([0.5]), torch.ones(1, 4, dtype=torch.bool)).backward()
        optimizer.step()
    shares = student.detach().softmax(1)[0]
    expected = torch.tensor([1.0, 0.0, 0.5]).softmax(0)
    assert torch.allclose(shares, torch.stack([expected[0], expected[1], expected[2] / 2, expected[2] / 2]), atol=1e-2)


def test_relations_find_the_neighbours_and_no_padding() -> None:
    table = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.1], [1.0, 0.0], [0.0, 1.0]])
    items, logits, remainder = relation_labels(table, torch.tensor([2, 4]), 2)
    assert items.tolist() == [[2, 3], [4, 2]]
    assert (logits[:, 0] >= logits[:, 1]).all() and torch.isfinite(remainder).all()
