"""Transformers4Rec as it is evaluated: one encoder, one recommender for each objective."""

from __future__ import annotations

from functools import partial
from typing import Any

from online_models.encoders.merge import Merge, Summed
from online_models.learner import seeded
from online_models.objectives.causal import Causal
from online_models.objectives.exercise import Objective
from online_models.objectives.masked import Masked
from online_models.objectives.permuted import Permuted
from online_models.objectives.replaced_token import ReplacedToken
from online_models.optim.table_rate import with_table_rate
from online_models.recommenders import Factory, Setting
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting
from online_models.sequence_learner import SequenceLearner
from online_models.zoo.transformers4rec import Transformers4Rec


def transformers4rec_learner(
    setting: Setting,
    objective: Objective,
    merge: Merge = Summed,
    *,
    negatives: int = 256,
    rate: float = 1e-3,
    table_rate: float = 3e-2,
    **sizes: Any,
) -> SequenceLearner:
    """Make a seeded Transformers4Rec; ``sizes`` are fields of its ``Config``. Categories come from the sample."""
    with seeded(setting.seed):
        config = Transformers4Rec.Config(catalog_rows=setting.rows, **sizes)
        ranker = Transformers4Rec(config, objective, merge)
    if setting.sample is not None:
        for row, categories in enumerate(setting.sample.item_categories):
            ranker.set_categories(row, [category % config.category_buckets for category in categories])
    optimizer = with_table_rate(ranker.item_tables(), rate=rate, table_rate=table_rate)
    return SequenceLearner(ranker, optimizer, negatives=negatives, seed=setting.seed)


def transformers4rec(setting: Setting, objective: Objective) -> SequenceRecommender:
    """Transformers4Rec under one objective, with sampled softmax over 256 shared negatives."""
    learner = partial(transformers4rec_learner, setting, objective, layers=1)
    return SequenceRecommender(learner, setting, fitting=Fitting(batch_positions=1_024))


def _under(objective: Objective, words: str) -> Factory:
    def make(setting: Setting) -> SequenceRecommender:
        return transformers4rec(setting, objective)

    make.__doc__ = f"Transformers4Rec, taught {words}, with sampled softmax over 256 shared negatives."
    return make


RECOMMENDERS: dict[str, Factory] = {
    "transformers4rec-causal": _under(Causal(), "the next item of every place"),
    "transformers4rec-masked": _under(Masked(), "items that are hidden"),
    "transformers4rec-permuted": _under(Permuted(), "items in a drawn order"),
    "transformers4rec-replaced": _under(ReplacedToken(), "which items were replaced"),
}
