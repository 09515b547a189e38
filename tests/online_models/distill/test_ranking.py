from __future__ import annotations

import pytest
import torch

from online_models.distill.ranking import dynamic_weights, estimated_ranks, position_weights, ranking_loss


def test_the_first_place_weighs_most_and_a_flat_curve_is_even() -> None:
    steep, flat = position_weights(5, 0.5), position_weights(5, 1e6)
    assert (steep[:-1] > steep[1:]).all() and float(steep.sum()) == pytest.approx(1)
    assert torch.allclose(flat, torch.full((5,), 0.2), atol=1e-5)
    with pytest.raises(ValueError, match="steepness is 0"):
        position_weights(3, 0)


def test_estimated_ranks_agree_with_the_full_list_when_the_sample_is_the_list() -> None:
    scores = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    exact = 1 + (scores[:, None, :] > scores[:, :, None]).sum(2)
    assert torch.equal(estimated_ranks(scores, scores, items=40), exact.float())


def test_what_is_left_out_of_the_sample_does_not_count() -> None:
    sample = torch.tensor([[3.0, -torch.inf, -1.0]])
    assert estimated_ranks(torch.tensor([[0.0]]), sample, items=10).tolist() == [[6.0]]


def test_items_that_the_student_ranks_as_high_are_left_alone() -> None:
    weights = dynamic_weights(torch.tensor([[1.0, 50.0, 2.0]]))
    assert weights[0, 0] == 0 and weights[0, 1] > 0.9 and weights[0, 2] == 0
    scores = torch.zeros(1, 3, requires_grad=True)
    ranking_loss(scores, torch.ones(1, 3, dtype=torch.bool), ranks=torch.tensor([[1.0, 50.0, 2.0]])).backward()
    assert scores.grad is not None and scores.grad[0].tolist() == pytest.approx([0, -0.5, 0])


def test_the_target_and_missing_items_have_no_gradient() -> None:
    scores = torch.zeros(2, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    ranking_loss(scores, mask).backward()
    assert scores.grad is not None
    assert (scores.grad != 0).tolist() == [[True, False, True], [False, False, False]]
