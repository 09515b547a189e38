"""Transformers4Rec as a recommender, under each objective."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.objectives.masked import Masked
from online_models.recommenders import Setting
from online_models.recommenders.sequential import SequenceRecommender
from online_models.recommenders.transformers4rec import RECOMMENDERS, transformers4rec_learner
from online_models.sequence_fitting import Fitting
from online_models.zoo.transformers4rec import Transformers4Rec
from tests.online_models.recommenders.rings import hit_share, ring_log, stream_in_micro_batches


def test_log_is_learnt() -> None:
    log = ring_log(users=40)
    setting = Setting(rows=log.rows, user_count=log.user_count)
    sizes = {"dimension": 16, "layers": 1, "dropout": 0.0, "table_rate": 5e-3}
    make = partial(transformers4rec_learner, setting, Masked(), negatives=32, rate=5e-3, **sizes)
    recommender = SequenceRecommender(make, setting, fitting=Fitting(epochs=60, batch_positions=50))
    recommender.fit(log)
    assert hit_share(recommender) > 0.8


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_published_recommenders_stream_and_score(name: str) -> None:
    log = ring_log(users=6)
    recommender = RECOMMENDERS[name](Setting(rows=log.rows, user_count=log.user_count))
    stream_in_micro_batches(recommender, log)
    scores = recommender.score(Histories.of([[5, 6], []]))
    assert scores.shape == (2, log.rows)
    assert np.isfinite(scores).all()


def test_categories_come_from_the_catalogue() -> None:
    sample = replace(ring_log(users=2).take(slice(0, 0)), item_categories=[(), (), (3, 70), *[()] * 9])
    ranker = transformers4rec_learner(Setting(rows=12, user_count=2, sample=sample), Masked()).ranker
    assert isinstance(ranker, Transformers4Rec)
    assert ranker.item_categories[2].nonzero().squeeze(1).tolist() == [3, 70 % 64]
    assert not ranker.item_categories[3].any()
