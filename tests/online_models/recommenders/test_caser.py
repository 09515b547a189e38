"""Caser as a recommender."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders import Setting
from online_models.recommenders.caser import RECOMMENDERS, caser_learner
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting
from tests.online_models.recommenders.rings import hit_share, ring_log, stream_in_micro_batches


def small(setting: Setting) -> SequenceRecommender:
    make = partial(caser_learner, setting, negatives=32, rate=1e-2, dimension=16, targets=1, dropout=0.0)
    return SequenceRecommender(make, setting, fitting=Fitting(epochs=40, batch_positions=64))


def test_log_is_learnt() -> None:
    log = ring_log(users=40)
    recommender = small(Setting(rows=log.rows, user_count=log.user_count))
    recommender.fit(log)
    assert hit_share(recommender) > 0.8


def test_stream_is_learnt() -> None:
    log = ring_log(users=300)
    recommender = small(Setting(rows=log.rows, user_count=log.user_count))
    before = hit_share(recommender)
    stream_in_micro_batches(recommender, log)
    assert hit_share(recommender) > max(before, 0.5)


def test_tastes_of_users_tell_them_apart() -> None:
    """Two users of one history are scored by their own vectors."""
    scores = small(Setting(rows=20, user_count=3)).score(Histories.of([[5, 6], [5, 6]], users=[0, 1]))
    assert not np.allclose(scores[0], scores[1])


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_published_recommenders_fit_and_score(name: str) -> None:
    log = ring_log(users=6)
    recommender = RECOMMENDERS[name](Setting(rows=log.rows, user_count=log.user_count))
    stream_in_micro_batches(recommender, log)
    scores = recommender.score(Histories.of([[5, 6], []]))
    assert scores.shape == (2, log.rows)
    assert np.isfinite(scores).all()
