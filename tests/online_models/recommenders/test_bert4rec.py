"""BERT4Rec as a recommender: a log epoch by epoch, a stream a micro-batch at a time."""

from __future__ import annotations

from functools import partial

import numpy as np

from online_models.evaluation.interactions import Histories
from online_models.recommenders import Setting
from online_models.recommenders.bert4rec import RECOMMENDERS, bert4rec_learner
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting
from tests.online_models.recommenders.rings import hit_share, ring_log, stream_in_micro_batches


def small(setting: Setting) -> SequenceRecommender:
    make = partial(
        bert4rec_learner, setting, negatives=32, rate=5e-3, table_rate=5e-3, dimension=16, layers=1, dropout=0.0
    )
    return SequenceRecommender(make, setting, history=50, fitting=Fitting(epochs=60, batch_positions=50))


def test_log_is_learnt() -> None:
    log = ring_log(users=40)
    recommender = small(Setting(rows=log.rows, user_count=log.user_count))
    recommender.fit(log)
    assert hit_share(recommender) > 0.8


def test_stream_is_learnt() -> None:
    log = ring_log(users=400)
    recommender = small(Setting(rows=log.rows, user_count=log.user_count))
    before = hit_share(recommender)
    stream_in_micro_batches(recommender, log)
    assert hit_share(recommender) > max(before, 0.5)


def test_the_published_recommender_builds_and_scores() -> None:
    setting = Setting(rows=20, user_count=3)
    scores = RECOMMENDERS["bert4rec"](setting).score(Histories.of([[5, 6], []]))
    assert scores.shape == (2, 20)
    assert np.isfinite(scores).all()
