"""The blend's gradient against autograd, and what it learns to trust."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from online_models import state_tree
from online_models.blend import ListwiseBlend


def _blend(sources: int = 3, contexts: int = 2, seed: int = 0) -> ListwiseBlend:
    blend = ListwiseBlend(sources, contexts)
    blend.weights[:] = np.random.default_rng(seed).normal(size=blend.weights.shape)
    return blend


def _expected(blend: ListwiseBlend, scores: np.ndarray, context: np.ndarray, target: int, mask: np.ndarray):
    weights = torch.tensor(blend.weights, dtype=torch.float64, requires_grad=True)
    values = torch.tensor(scores, dtype=torch.float64)
    shares = values / values.amax(1, keepdim=True).clamp(min=1e-30)
    features = torch.cat([torch.log(shares + blend.config.epsilon), shares])  # [F, R]
    logits = (weights @ torch.tensor(context, dtype=torch.float64)) @ features
    loss = F.cross_entropy(logits.masked_fill(~torch.tensor(mask), -torch.inf)[None], torch.tensor([target]))
    loss.backward()
    assert weights.grad is not None
    return float(loss), weights.grad.numpy()


def test_gradient_is_that_of_autograd() -> None:
    draw = np.random.default_rng(1)
    blend, scores = _blend(), draw.random((3, 9)).astype(np.float32) * 5
    scores[2] = 0  # a silent source
    context, mask = np.array([1, 0.4], np.float32), draw.random(9) < 0.7
    mask[4] = True
    loss, gradient = blend.gradient(blend.features(scores), context, 4, mask)
    expected_loss, expected = _expected(blend, scores, context, 4, mask)
    assert loss == pytest.approx(expected_loss, abs=1e-4)
    assert np.allclose(gradient, expected, atol=1e-4)


def test_a_batch_is_the_mean_of_its_events() -> None:
    draw = np.random.default_rng(2)
    scores, contexts = draw.random((3, 4, 9)).astype(np.float32), draw.random((4, 2)).astype(np.float32)
    targets, allowed = np.array([1, 2, 3, 4]), np.ones((4, 9), bool)
    allowed[:, 7:] = False
    one, many = _blend(), _blend()
    gradients = [
        one.gradient(one.features(scores[:, row]), contexts[row], int(targets[row]), allowed[row])[1]
        for row in range(4)
    ]
    one.step(np.mean(gradients, axis=0))
    many.learn_many(scores, contexts, targets, allowed)
    assert np.allclose(one.weights, many.weights, atol=1e-4)


def test_learns_which_source_to_trust_in_which_context() -> None:
    """One source knows in one context, the other in the other: no fixed weights could do it."""
    draw = np.random.default_rng(3)
    blend = ListwiseBlend(2, 2, ListwiseBlend.Config(learning_rate=0.2))
    hits = []
    for step in range(600):
        scores = 0.5 * draw.random((2, 20)).astype(np.float32)
        scores[[0, 1], draw.integers(0, 20, 2)] = 1
        sort = step % 2
        target = int(scores[sort].argmax())
        context = np.array([1, sort], np.float32)
        hits.append(blend.score(scores, context).argmax() == target)
        blend.learn(scores, context, target)
    assert np.mean(hits[-200:]) > 0.9
    assert np.mean(hits[:20]) < 0.8


def test_scores_of_many_are_those_of_each() -> None:
    draw = np.random.default_rng(4)
    blend, scores = _blend(), draw.random((3, 4, 9)).astype(np.float32)
    contexts = draw.random((4, 2)).astype(np.float32)
    each = [blend.score(scores[:, row], contexts[row]) for row in range(4)]
    assert np.allclose(blend.score(scores, contexts), each, atol=1e-5)


def test_what_may_not_be_shown_teaches_nothing() -> None:
    scores = np.random.default_rng(5).random((2, 6)).astype(np.float32)
    more = np.concatenate([scores, scores.max(1, keepdims=True)], axis=1)
    context, one, other = np.ones(1, np.float32), ListwiseBlend(2, 1), ListwiseBlend(2, 1)
    one.learn(scores, context, 2)
    other.learn(more, context, 2, np.arange(7) < 6)
    assert np.allclose(one.weights, other.weights)


def test_a_bad_number_is_skipped() -> None:
    blend = ListwiseBlend(2, 1)
    before = blend.state_dict()
    blend.learn(np.full((2, 5), np.nan, np.float32), np.ones(1, np.float32), 2)
    assert state_tree.equal(before, blend.state_dict())


def test_resume_is_exact() -> None:
    scores, context = np.random.default_rng(6).random((2, 6)).astype(np.float32), np.ones(1, np.float32)
    one, other = ListwiseBlend(2, 1), ListwiseBlend(2, 1)
    one.learn(scores, context, 1)
    other.load_state_dict(one.state_dict())
    one.learn(scores, context, 2)
    other.learn(scores, context, 2)
    assert state_tree.equal(one.state_dict(), other.state_dict())


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="use the same sources"):
        ListwiseBlend(2, 1).load_state_dict(ListwiseBlend(3, 1).state_dict())
