from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from online_models.losses import Loss, binary_cross_entropy, bpr, gbce, softmax_cross_entropy

LOSSES: list[Loss] = [softmax_cross_entropy, binary_cross_entropy, bpr, partial(gbce, sampling_rate=0.1)]
logits = torch.tensor([[2.0, -1.0, 0.5, 0.1], [0.3, 0.2, -0.4, 1.0]])
labels = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
everywhere = torch.ones(2, 4, dtype=torch.bool)


def test_softmax_is_torchs_cross_entropy() -> None:
    expected = F.cross_entropy(logits, labels.argmax(1))
    torch.testing.assert_close(softmax_cross_entropy(logits, labels, everywhere), expected)


def test_softmax_shares_the_target_among_positives() -> None:
    several = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    expected = -logits[:1].log_softmax(1)[0, :2].mean()
    torch.testing.assert_close(softmax_cross_entropy(logits[:1], several, everywhere[:1]), expected)


def test_bpr_averages_pairs() -> None:
    expected = -torch.stack([F.logsigmoid(logits[0, 0] - logits[0, j]) for j in (1, 2, 3)]).mean()
    torch.testing.assert_close(bpr(logits[:1], labels[:1], everywhere[:1]), expected)


def test_gbce_weakens_the_positive_by_beta() -> None:
    # alpha 0.1, t 1: beta = alpha
    expected = -(0.1 * F.logsigmoid(logits[0, 0]) + F.logsigmoid(-logits[0, 1:]).sum()) / 4
    given = gbce(logits[:1], labels[:1], everywhere[:1], sampling_rate=0.1, calibration=1.0)
    torch.testing.assert_close(given, expected)
    plain = gbce(logits, labels, everywhere, sampling_rate=0.1, calibration=0.0)
    torch.testing.assert_close(plain, binary_cross_entropy(logits, labels, everywhere))


@pytest.mark.parametrize("arguments", [{"sampling_rate": 0.0}, {"sampling_rate": 0.5, "calibration": 2.0}])
def test_gbce_names_what_is_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
        gbce(logits, labels, everywhere, **arguments)


def test_log_q_makes_the_sampled_softmax_estimate_the_full_one() -> None:
    torch.manual_seed(0)
    scores, counts = torch.randn(50), torch.rand(50) + 0.05
    full = F.cross_entropy(scores[None], torch.tensor([0]))
    draw = torch.Generator().manual_seed(1)
    probabilities = counts[1:] / counts[1:].sum()
    negatives = 1 + torch.multinomial(probabilities, 2000, replacement=True, generator=draw)
    items = torch.cat([torch.tensor([0]), negatives])[None]
    log_q = torch.cat([torch.zeros(1), (2000 * probabilities[negatives - 1]).log()])[None]
    target = F.one_hot(torch.tensor([0]), 2001).float()
    mask = torch.ones(1, 2001, dtype=torch.bool)
    sampled = softmax_cross_entropy(scores[items], target, mask, log_q=log_q)
    uncorrected = softmax_cross_entropy(scores[items], target, mask)
    assert abs(sampled - full) < 0.05 < abs(uncorrected - full)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rubbish", [0.0, 1e30, torch.inf, -torch.inf, torch.nan])
def test_what_is_masked_reaches_neither_value_nor_gradient(loss: Loss, rubbish: float) -> None:
    given = torch.cat([logits, torch.full((2, 2), rubbish)], 1).requires_grad_()
    longer = torch.cat([labels, torch.zeros(2, 2)], 1)
    mask = torch.cat([everywhere, torch.zeros(2, 2, dtype=torch.bool)], 1)
    value = loss(given, longer, mask)
    torch.testing.assert_close(value, loss(logits, labels, everywhere))
    (gradient,) = torch.autograd.grad(value, given)
    assert torch.isfinite(gradient).all() and (gradient[:, 4:] == 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_examples_weigh_what_they_weigh(loss: Loss) -> None:
    first, second = (loss(logits[i : i + 1], labels[i : i + 1], everywhere[:1]) for i in (0, 1))
    torch.testing.assert_close(
        loss(logits, labels, everywhere, weights=torch.tensor([3.0, 1.0])), (3 * first + second) / 4
    )


@pytest.mark.parametrize("loss", [softmax_cross_entropy, bpr, partial(gbce, sampling_rate=0.1)])
def test_lists_without_a_positive_teach_nothing(loss: Loss) -> None:
    partly = torch.stack([labels[0], torch.zeros(4)])
    torch.testing.assert_close(loss(logits, partly, everywhere), loss(logits[:1], labels[:1], everywhere[:1]))
    given = logits.clone().requires_grad_()
    value = loss(given, torch.zeros(2, 4), everywhere)
    (gradient,) = torch.autograd.grad(value, given)
    assert value == 0 and (gradient == 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_at_all_is_zero(loss: Loss) -> None:
    given = logits.clone().requires_grad_()
    value = loss(given, labels, torch.zeros(2, 4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(value, given)
    assert value == 0 and (gradient == 0).all()
    assert loss(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool)) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_right(loss: Loss) -> None:
    given = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels.double(), everywhere, log_q=0.1 * labels.double()), given)
