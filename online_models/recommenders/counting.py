"""Item-kNN, directional co-occurrence and last-item transitions as they are evaluated: exact counts, no bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting
from online_models.recommenders.logs import joined
from online_models.recommenders.pair_store import PairReading, PairRule, PairStore

Floats = NDArray[np.float32]


class PairRecommender:
    """Scores by pair counts, read in one way or in several; the counts are shared by the readings.

    Parameters
    ----------
    rows
        Rows of the catalogue.
    rule
        Which pairs an event adds.
    readings
        How a history is read; :meth:`score` uses the first, :meth:`columns` all of them.

    Examples
    --------
    >>> model = PairRecommender(6, PairRule(window=2, decay=0.5), PairReading(source_power=0))
    >>> model.store.observe(np.array([2, 3]), 4)
    >>> model.score(Histories.of([[3]])).tolist()
    [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """

    micro_batch = 1

    def __init__(self, rows: int, rule: PairRule, *readings: PairReading) -> None:
        self.store = PairStore(rows, rule)
        self.readings = readings

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Count the whole log, the validation events with it."""
        self.store.fit(joined(train, validation))

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Count events one after another."""
        for place, target in enumerate(events.items.tolist()):
            self.store.observe(histories.items_of(place), target)

    def score(self, histories: Histories) -> Floats:
        """Scores by the first reading. [B, R]."""
        return self.store.score(histories, self.readings[0])

    def columns(self, histories: Histories) -> Floats:
        """Scores by every reading. [S, B, R]."""
        return self.store.columns(histories, self.readings)


KNN_RULE = PairRule(window=10, decay=1.0, backward=1.0)
KNN_READING = PairReading(last=10, decay=0.9, source_power=0.5, target_power=0.5)
FORWARD_RULE = PairRule(window=20, decay=0.9, backward=0.3)
FORWARD_READING = PairReading(last=20, decay=0.75, source_power=0.3, target_power=0.2)
SESSION_RULE = PairRule(window=20, decay=0.6, backward=1.0, itself=True)
SESSION_READING = PairReading(last=20, decay=0.7, source_power=0.5, target_power=0.2)
STEP_RULE = PairRule(window=1)
STEP_READING = PairReading(last=1, source_power=1.0)


def _item_knn(setting: Setting) -> PairRecommender:
    """Items taken within ten events of each other, by cosine; the newest ten of a history, by recency."""
    return PairRecommender(setting.rows, KNN_RULE, KNN_READING)


def _transitions(setting: Setting) -> PairRecommender:
    """Rank by what followed the last item most often."""
    return PairRecommender(setting.rows, STEP_RULE, STEP_READING)


def _cooccurrence(setting: Setting) -> PairRecommender:
    """Count sessions in both directions alike, since what is looked at together has little order; years have more."""
    if setting.repeats:
        return PairRecommender(setting.rows, SESSION_RULE, SESSION_READING)
    return PairRecommender(setting.rows, FORWARD_RULE, FORWARD_READING)


RECOMMENDERS: dict[str, Factory] = {
    "item-knn": _item_knn,
    "cooccurrence": _cooccurrence,
    "transitions": _transitions,
}
