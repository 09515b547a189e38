"""BERT4Rec as it is evaluated."""

from __future__ import annotations

from functools import partial
from typing import Any

from online_models.learner import seeded
from online_models.optim.table_rate import with_table_rate
from online_models.recommenders import Factory, Setting
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting
from online_models.sequence_learner import SequenceLearner
from online_models.zoo.bert4rec import BERT4Rec

HISTORY = 50
# a cloze learns from a share of the events in each epoch: it needs more epochs than a causal model
FITTING = Fitting(epochs=400, patience=8, evaluate_every=4, batch_positions=1_024)


def bert4rec_learner(
    setting: Setting, *, negatives: int = 256, rate: float = 1e-3, table_rate: float = 3e-2, **sizes: Any
) -> SequenceLearner:
    """Make a seeded BERT4Rec; ``sizes`` are fields of :class:`~online_models.zoo.bert4rec.BERT4Rec.Config`."""
    with seeded(setting.seed):
        ranker = BERT4Rec(BERT4Rec.Config(catalog_rows=setting.rows, history=HISTORY, **sizes))
    optimizer = with_table_rate(ranker.item_tables(), rate=rate, table_rate=table_rate)
    return SequenceLearner(ranker, optimizer, negatives=negatives, seed=setting.seed)


def bert4rec(setting: Setting) -> SequenceRecommender:
    """BERT4Rec with sampled softmax at the hidden places."""
    return SequenceRecommender(partial(bert4rec_learner, setting, layers=1), setting, history=HISTORY, fitting=FITTING)


RECOMMENDERS: dict[str, Factory] = {"bert4rec": bert4rec}
