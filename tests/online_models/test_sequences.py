from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from online_models.sequences import SequenceLoss, binary_cross_entropy, gbce, sampled_softmax

STATES = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # [P, D]
TARGETS, NEGATIVES = torch.tensor([5, 6]), torch.tensor([7, 5])
TARGET_VECTORS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
NEGATIVE_VECTORS = torch.tensor([[0.5, 0.5], [1.0, 0.0]])


def value(loss: SequenceLoss, weights: tuple[float, float] = (1.0, 1.0), log_q: Tensor | None = None) -> float:
    log_q = torch.zeros(2) if log_q is None else log_q
    return loss(STATES, TARGETS, torch.tensor(weights), TARGET_VECTORS, NEGATIVE_VECTORS, NEGATIVES, log_q).item()


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def test_sampled_softmax_by_hand() -> None:
    first = -math.log(math.e / (math.e + math.exp(0.5)))  # item 5 is the target, so it is no negative
    second = -math.log(math.exp(2) / (math.exp(2) + math.e + 1))
    assert value(sampled_softmax) == pytest.approx((first + second) / 2)
    assert value(sampled_softmax, (1.0, 3.0)) == pytest.approx((first + 3 * second) / 4)
    assert value(sampled_softmax, (1.0, 0.0)) == pytest.approx(first)


def test_sampled_softmax_subtracts_log_q_from_negatives_alone() -> None:
    corrected = -math.log(math.e / (math.e + math.exp(0.5 - math.log(0.25))))
    assert value(sampled_softmax, (1.0, 0.0), torch.tensor([math.log(0.25), 0.0])) == pytest.approx(corrected)


def test_binary_cross_entropy_by_hand() -> None:
    first = -math.log(sigmoid(1)) - math.log(1 - sigmoid(0.5))
    second = -math.log(sigmoid(2)) - math.log(1 - sigmoid(0))
    assert value(binary_cross_entropy) == pytest.approx((first + second) / 2)


def test_a_negative_that_is_the_target_is_left_out() -> None:
    given = binary_cross_entropy(
        STATES[:1],
        TARGETS[:1],
        torch.ones(1),
        TARGET_VECTORS[:1],
        NEGATIVE_VECTORS[1:],
        NEGATIVES[1:],
        torch.zeros(1),
    )
    assert given.item() == pytest.approx(-math.log(sigmoid(1)))


def test_gbce_by_hand() -> None:
    share, calibration = 2 / 8, 0.5
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    first = -beta * math.log(sigmoid(1)) - math.log(1 - sigmoid(0.5))
    second = -beta * math.log(sigmoid(2)) - math.log(1 - sigmoid(1)) - math.log(1 - sigmoid(0))
    assert value(partial(gbce, items=9, calibration=calibration)) == pytest.approx((first + second) / 2)


def test_gbce_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="calibration is 1.5"):
        value(partial(gbce, items=9, calibration=1.5))


def test_no_target_no_loss() -> None:
    assert all(value(loss, (0.0, 0.0)) == 0 for loss in (sampled_softmax, binary_cross_entropy))
