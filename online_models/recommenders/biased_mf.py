"""River's biased matrix factorisation as a protocol of evaluation meets it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.batch import Batch, Candidates, Context
from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Factory, Setting
from online_models.recommenders.logs import joined
from online_models.vocabulary import QUERY_LENGTH
from online_models.zoo.biased_mf import BiasedMF

Floats = NDArray[np.float32]


class BiasedMFRecommender:
    """BiasedMF with uniform negatives: one SGD step for every event and for every negative.

    Parameters
    ----------
    setting
        The catalogue.
    epochs
        Passes over the log in :meth:`fit`; the stream is passed once.
    """

    micro_batch = 1

    def __init__(self, setting: Setting, epochs: int = 3) -> None:
        self.epochs = epochs
        self.rows = setting.rows
        config = BiasedMF.Config(rows=setting.rows, users=max(setting.user_count, 1), seed=setting.seed)
        self.learner = BiasedMF(config)
        self._random = np.random.default_rng(setting.seed)

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Pass over the log in its order, several times."""
        log = joined(train, validation)
        for _ in range(self.epochs):
            for start in range(0, len(log), 1024):
                self._learn(log.take(slice(start, start + 1024)))

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Take a step on each event and its negatives."""
        self._learn(events)

    def score(self, histories: Histories) -> Floats:
        """Score all items for each user, as river's ``predict_one`` would. [B, R]."""
        model = self.learner.model
        product = model.u_latents[histories.users] @ model.i_latents.T  # [B, R]
        scores: Floats = (product + model.i_biases + model.u_biases[histories.users][:, None]).astype(np.float32)
        return scores

    def _learn(self, events: Interactions) -> None:
        size, negatives = len(events), self.learner.config.negatives
        drawn = self._random.integers(2, self.rows, (size, negatives))  # [B, K]
        items = np.concatenate([events.items[:, None], drawn], axis=1)  # [B, 1 + K]
        labels = np.zeros(items.shape, np.float32)
        labels[:, 0] = 1
        self.learner.learn(_batch(events, items, labels))


def _batch(events: Interactions, items: NDArray[np.int64], labels: Floats) -> Batch:
    """Batch of users and candidates; the learner reads nothing else."""
    size = len(events)
    none = torch.zeros(size, 0, dtype=torch.int64)
    context = Context(
        history_items=none,
        history_actions=none,
        history_ages_seconds=none.float(),
        features=none.float(),
        surface=torch.zeros(size, dtype=torch.int64),
        source_item=torch.zeros(size, dtype=torch.int64),
        query=torch.zeros(size, QUERY_LENGTH, dtype=torch.int64),
        time_seconds=torch.from_numpy(events.times_seconds),
        user=torch.from_numpy(events.users),
    )
    empty = torch.zeros(*items.shape, 0)
    return Batch(
        context=context,
        candidates=Candidates(items=torch.from_numpy(items), source_scores=empty, features=empty),
        labels=torch.from_numpy(labels),
        log_q=torch.zeros(items.shape),
        weights=torch.ones(size),
        actions=torch.from_numpy(events.actions),
    )


def _biased_mf(setting: Setting) -> BiasedMFRecommender:
    """Biased matrix factorisation, each event against uniform negatives."""
    return BiasedMFRecommender(setting)


RECOMMENDERS: dict[str, Factory] = {"biased-mf": _biased_mf}
