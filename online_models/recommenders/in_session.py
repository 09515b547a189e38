"""IntentRec as it is evaluated, with the ablations of its paper composed of the same parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.augmentation import forget_beginnings
from online_models.evaluation.interactions import Histories, Interactions
from online_models.learner import seeded
from online_models.recommenders import Factory, Setting
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.intent_rec import IntentRec

MOST_CATEGORIES = 64
COMMONPLACE = 0.6  # a category of so many items says nothing


def category_table(sample: Interactions | None, rows: int, most: int = MOST_CATEGORIES) -> NDArray[np.float32]:
    """Multi-hot table of the most frequent telling categories. [R, C], C at least 1.

    >>> category_table(None, rows=3).shape
    (3, 1)
    """
    if sample is None or not sample.category_names:
        return np.zeros((rows, 1), np.float32)
    whole = np.zeros((rows, len(sample.category_names)), np.float32)
    for row, categories in enumerate(sample.item_categories[:rows]):
        whole[row, list(categories)] = 1
    counts = whole.sum(0)
    telling = np.flatnonzero((counts > 0) & (counts <= COMMONPLACE * max((whole.sum(1) > 0).sum(), 1)))
    kept = np.sort(telling[np.argsort(-counts[telling], kind="stable")[:most]])
    return whole[:, kept] if len(kept) else np.zeros((rows, 1), np.float32)


class IntentRecommender(SequenceRecommender):
    """A :class:`SequenceRecommender` whose ranker is told categories and dates of items.

    Where the catalogue has no date of publication an item counts as published at its first event, which is taken over
    when that event is learnt, never before.
    """

    def __init__(
        self,
        make_learner: Callable[[], SequenceLearner],
        setting: Setting,
        categories: NDArray[np.float32],
        **more: Any,
    ) -> None:
        super().__init__(make_learner, setting, **more)
        ranker = self.learner.ranker
        assert isinstance(ranker, IntentRec)
        self.ranker = ranker
        published = setting.sample.item_published_seconds if setting.sample is not None else None
        dates = (
            np.full(setting.rows, -np.inf) if published is None else np.where(np.isnan(published), -np.inf, published)
        )
        ranker.describe(torch.arange(setting.rows), torch.from_numpy(categories), torch.from_numpy(dates))

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Date the items, then learn a whole log."""
        self._date(train)
        super().fit(train, validation)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Date the items, then learn a micro-batch."""
        self._date(events)
        super().learn(events, histories)

    def _date(self, events: Interactions) -> None:
        dates = self.ranker.item_published_seconds.numpy()
        rows = events.items[np.isneginf(dates[events.items])]
        if len(rows):
            times = events.times_seconds[np.isneginf(dates[events.items])]
            dates[rows] = np.inf
            np.minimum.at(dates, rows, times)


class SparseSessionLearner(SequenceLearner):
    """Learns a fifth of the histories from somewhere in their middle on, so that short ones are not strangers."""

    forgotten = 0.2

    def learn_sequences(self, *groups: Sequences) -> dict[str, float]:
        """Forget some beginnings, then take a step."""
        return super().learn_sequences(*(forget_beginnings(group, self.forgotten, self._draws) for group in groups))


def intent_learner(
    setting: Setting,
    categories: int,
    parts: dict[str, Any],
    *,
    kind: type[SequenceLearner] = SequenceLearner,
    **sizes: Any,
) -> SequenceLearner:
    """Seed an IntentRec; ``parts`` are its heads, feed and short-term encoder, ``sizes`` fields of its Config."""
    with seeded(setting.seed):
        ranker = IntentRec(IntentRec.Config(catalog_rows=setting.rows, categories=categories, **sizes), **parts)
    return kind(ranker, lambda _: ranker.optimizer(), seed=setting.seed)


def intent_recommender(
    setting: Setting, kind: type[SequenceLearner] = SequenceLearner, **parts: Any
) -> IntentRecommender:
    """IntentRec: session and history encoded, intents foreseen and fed to the ranking."""
    table = category_table(setting.sample, setting.rows)
    return IntentRecommender(partial(intent_learner, setting, table.shape[1], parts, kind=kind), setting, table)


def sparse_sessions(setting: Setting) -> IntentRecommender:
    """IntentRec taught on sparse sessions too."""
    return intent_recommender(setting, kind=SparseSessionLearner)


def single_task(setting: Setting) -> IntentRecommender:
    """Items alone: no intents."""
    return intent_recommender(setting, heads=())


def multi_task(setting: Setting) -> IntentRecommender:
    """Plain multi-task: the intents stand on the item encoder and feed nothing."""
    return intent_recommender(setting, feed=None)


def no_window(setting: Setting) -> IntentRecommender:
    """Hierarchical, without the short-term window."""
    return intent_recommender(setting, short_term=None)


RECOMMENDERS: dict[str, Factory] = {
    "intent-rec": intent_recommender,
    "intent-rec-single-task": single_task,
    "intent-rec-multi-task": multi_task,
    "intent-rec-no-window": no_window,
    "intent-rec-sparse": sparse_sessions,
}
