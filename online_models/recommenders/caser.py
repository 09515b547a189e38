"""Caser as it is evaluated."""

from __future__ import annotations

from functools import partial
from typing import Any

from online_models.learner import seeded
from online_models.optim.table_rate import with_table_rate
from online_models.recommenders import Factory, Setting
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import SequenceLoss, binary_cross_entropy, sampled_softmax
from online_models.zoo.caser import Caser

FITTING = Fitting(batch_positions=1_024)


def caser_learner(
    setting: Setting,
    *,
    loss: SequenceLoss = sampled_softmax,
    negatives: int = 256,
    rate: float = 1e-3,
    table_rate: float = 3e-2,
    **sizes: Any,
) -> SequenceLearner:
    """Make a seeded Caser; ``sizes`` are fields of :class:`~online_models.zoo.caser.Caser.Config`."""
    with seeded(setting.seed):
        ranker = Caser(Caser.Config(catalog_rows=setting.rows, users=max(setting.user_count, 1), **sizes))
    optimizer = with_table_rate([*ranker.item_tables(), ranker.users.weight], rate=rate, table_rate=table_rate)
    return SequenceLearner(ranker, optimizer, loss=loss, negatives=negatives, seed=setting.seed)


def caser(setting: Setting) -> SequenceRecommender:
    """Caser with sampled softmax over 256 shared negatives."""
    return SequenceRecommender(partial(caser_learner, setting), setting, fitting=FITTING)


def caser_bce(setting: Setting) -> SequenceRecommender:
    """Caser with the published binary cross-entropy, one negative for each target."""
    learner = partial(caser_learner, setting, loss=binary_cross_entropy, negatives=0)
    return SequenceRecommender(learner, setting, fitting=FITTING)


RECOMMENDERS: dict[str, Factory] = {"caser": caser, "caser-bce": caser_bce}
