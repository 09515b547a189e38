"""BiasedMF learns tastes, and scores as river does."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders import Setting
from online_models.recommenders.biased_mf import RECOMMENDERS, BiasedMFRecommender
from tests.online_models.recommenders.small_logs import log_of, stream


def test_scores_are_rivers_predictions_less_the_mean() -> None:
    log = log_of([(0, 2), (1, 3), (0, 4)])
    recommender = RECOMMENDERS["biased-mf"](Setting(rows=log.rows, user_count=log.user_count))
    assert isinstance(recommender, BiasedMFRecommender)
    stream(recommender, log)
    model = recommender.learner.model
    expected = model.predict_one(1, 4) - model.global_mean.get()
    assert recommender.score(Histories.of([[]], users=[1]))[0, 4] == pytest.approx(expected, abs=1e-6)


def test_tastes_are_learnt() -> None:
    """Even users take even items; popularity cannot tell who wants which."""
    draw = np.random.default_rng(0)
    log = log_of([(user, 2 + 2 * int(draw.integers(0, 5)) + user % 2) for _ in range(40) for user in range(20)])
    recommender = BiasedMFRecommender(Setting(rows=log.rows, user_count=log.user_count), epochs=6)
    recommender.fit(log)
    scores = recommender.score(Histories.of([[], []], users=[0, 1]))[:, 2:]
    even, odd = scores[:, 0::2].mean(axis=1), scores[:, 1::2].mean(axis=1)
    assert even[0] > odd[0] and odd[1] > even[1]
