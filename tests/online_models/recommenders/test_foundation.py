from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting
from online_models.recommenders.foundation import RECOMMENDERS, FoundationRecommender, describe
from tests.online_models.recommenders.rings import LENGTH, SIZE, hit_share, ring_log, stream_in_micro_batches


def small(log: Interactions, seed: int = 1, **more: int) -> FoundationRecommender:
    given = {"most_epochs": 40} | more
    config = FoundationRecommender.Config(
        dimension=16, length=8, layers=1, dropout=0.0, learning_rate=1e-2, recent=8, **given
    )
    return FoundationRecommender(Setting(rows=log.rows, user_count=log.user_count, seed=seed), config)


def test_log_is_learnt() -> None:
    log = ring_log(users=60)
    recommender = small(log)
    recommender.fit(log)
    assert hit_share(recommender) > 0.8


def test_stream_is_learnt() -> None:
    log = ring_log(users=300)
    recommender = small(log)
    before = hit_share(recommender)
    stream_in_micro_batches(recommender, log)
    assert hit_share(recommender) > max(before, 0.5)
    assert recommender.refreshes == len(log) // 20


def test_the_weights_that_rank_the_validation_items_best_are_kept() -> None:
    log = ring_log(users=60)
    last = np.arange(LENGTH - 1, len(log), LENGTH)
    train, validation = log.take(np.delete(np.arange(len(log)), last)), log.take(last)
    recommender = small(log, most_epochs=500, patience=1)
    recommender.fit(train, validation)
    assert hit_share(recommender) > 0.8
    assert recommender.learner.steps < 500  # nothing was gained any more


def test_what_the_catalogue_says_reaches_the_items() -> None:
    log = ring_log(users=2)
    known = replace(
        log,
        item_categories=[(), (), *([(0,), (1,)] * (SIZE // 2))],
        category_names=["odd", "even"],
        item_titles=[f"title {row}" for row in range(SIZE + 2)],
        item_published_seconds=np.full(SIZE + 2, 5.0),
    )
    recommender = small(log)
    describe(recommender.learner.model, known)
    encoder = recommender.learner.model.item_encoder
    assert encoder.tokens[2, 0] == encoder.tokens[4, 0] != encoder.tokens[3, 0]
    assert torch.equal(encoder.born_seconds[2:], torch.full((SIZE,), 5.0, dtype=torch.float64))


def test_same_seed_same_scores() -> None:
    log = ring_log(users=20)
    scores = []
    for _ in range(2):
        recommender = small(log)
        stream_in_micro_batches(recommender, log)
        scores.append(recommender.score(Histories.of([[5, 6]])))
    assert np.array_equal(*scores)


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_published_recommenders_learn_and_score(name: str) -> None:
    log = ring_log(users=6)
    recommender = RECOMMENDERS[name](Setting(rows=log.rows, user_count=log.user_count))
    stream_in_micro_batches(recommender, log)
    scores = recommender.score(Histories.of([[5, 6], []]))
    assert scores.shape == (2, log.rows) and np.isfinite(scores).all()
