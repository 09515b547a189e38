"""Scores in the order of their bits are in their own order."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.best_first import best_first, falling_keys


@pytest.mark.parametrize("seed", range(20))
def test_best_first_is_a_stable_sort_that_is_cut(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=int(random.integers(0, 500))).astype(np.float32)
    if seed % 2:
        scores = np.round(scores, 1)  # many are equal, and zeros have both signs
    for limit in (0, 1, 20, 499, 1_000):
        assert best_first(scores, limit).tolist() == np.argsort(-scores, kind="stable")[:limit].tolist()


def test_extremes_keep_their_order_and_only_scores_above_zero_lie_below_minus_one() -> None:
    tiny, huge = np.float32(1e-45), np.finfo(np.float32).max
    scores = np.array([np.inf, huge, 1, tiny, 0, -0.0, -tiny, -1, -huge, -np.inf], np.float32)
    assert best_first(scores, len(scores)).tolist() == list(range(len(scores)))
    assert (falling_keys(scores) < -1).tolist() == (scores > 0).tolist()
