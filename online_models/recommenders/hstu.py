"""HSTU as it is evaluated."""

from __future__ import annotations

from functools import partial
from typing import Any

from online_models.learner import seeded
from online_models.optim import LazyAdam
from online_models.recommenders import Factory, Setting
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting
from online_models.sequence_learner import SequenceLearner
from online_models.zoo.hstu import HSTU


def hstu_learner(setting: Setting, *, negatives: int = 256, rate: float = 1e-3, **sizes: Any) -> SequenceLearner:
    """Make a seeded HSTU with sampled softmax; ``sizes`` are fields of its Config."""
    with seeded(setting.seed):
        ranker = HSTU(HSTU.Config(catalog_rows=setting.rows, **sizes))
    return SequenceLearner(ranker, partial(LazyAdam, lr=rate), negatives=negatives, seed=setting.seed)


def hstu(setting: Setting) -> SequenceRecommender:
    """HSTU with sampled softmax over 1,024 shared negatives and much dropout, chosen on Beauty's validation items."""
    return SequenceRecommender(partial(hstu_learner, setting, negatives=1_024, dropout=0.5), setting)


LONG = 200  # events, as published for MovieLens
LONG_ALPHA = 1.6


def hstu_long(setting: Setting) -> SequenceRecommender:
    """HSTU over 200 events; in training, histories of more than 69 are cut by stochastic length.

    For logs of long histories. Where nobody has taken 50 items, ``hstu`` learns the same at less cost.
    """
    learner = partial(hstu_learner, setting, negatives=1_024, dropout=0.2, history=LONG)
    return SequenceRecommender(learner, setting, history=LONG, fitting=Fitting(length_alpha=LONG_ALPHA))


RECOMMENDERS: dict[str, Factory] = {"hstu": hstu, "hstu-long": hstu_long}
