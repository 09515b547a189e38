"""The foundation model as a protocol of evaluation meets it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.bucketing import of_columns
from online_models.evaluation.interactions import Histories, Interactions
from online_models.evaluation.metrics import ranks_of
from online_models.foundation import metadata
from online_models.foundation.histories import HistoryStore
from online_models.foundation.incremental import refresh, start_new_items
from online_models.foundation.learner import FoundationLearner
from online_models.foundation.model import FoundationModel
from online_models.foundation.weights import event_weights
from online_models.foundation.windows import Mixed
from online_models.learner import seeded
from online_models.recommenders import Factory, Setting
from online_models.sequences import Sequences

_SCORED_AT_ONCE = 256
_MOST_VALIDATED = 2_000
_FEWEST_STEPS = 50  # between two validations, however short an epoch is


class FoundationRecommender:
    """Offline: mixed windows until the validation items say stop. Online: one refresh a micro-batch, with replay.

    Parameters
    ----------
    setting
        Catalogue and seed.
    config
        Model, windows and rhythm.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How it is trained."""

        dimension: int = 64
        length: int = 50
        layers: int = 2
        dropout: float = 0.3
        learning_rate: float = 1e-3
        recent: int = 500
        replay_share: float = 0.5
        micro_batch: int = 256
        most_epochs: int = 120
        validated_every: int = 4  # epochs
        patience: int = 3  # validations without a gain

    def __init__(self, setting: Setting, config: Config | None = None) -> None:
        self.setting, self.config = setting, config or self.Config()
        self.micro_batch = self.config.micro_batch
        model = FoundationModel.Config(
            catalog_rows=setting.rows,
            dimension=self.config.dimension,
            length=self.config.length,
            layers=self.config.layers,
            dropout=self.config.dropout,
        )
        self.learner = FoundationLearner(
            FoundationLearner.Config(model=model, learning_rate=self.config.learning_rate, seed=setting.seed)
        )
        self.store = HistoryStore()
        self.refreshes = 0
        self._vectors: torch.Tensor | None = None
        self._draw = torch.Generator().manual_seed(setting.seed)
        if setting.sample is not None:
            describe(self.learner.model, setting.sample)

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Train on mixed windows; the weights that rank the validation items best are kept."""
        self._observe(train)
        self.store.learnt()
        steps = max(-(-len(self.store) // self.learner.config.batch_windows), 1)
        rule = Mixed(self.config.length, max(self.config.recent, self.config.length), seed=self.setting.seed)
        judge = _Judge(self, validation, self.config.patience) if validation is not None and len(validation) else None
        between, epoch = max(self.config.validated_every, -(-_FEWEST_STEPS // steps)), 0
        while epoch < self.config.most_epochs:
            every = min(between, self.config.most_epochs - epoch)
            epoch = self.learner.fit(self.store, rule, steps * every, first_epoch=epoch)
            self._vectors = None
            if judge is not None and judge.is_done():
                break
        if judge is not None:
            judge.restore()
            self._vectors = None

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn a micro-batch of the stream: its newest windows, and as many replayed ones as ``replay_share`` says."""
        self._observe(events)
        refresh(self.learner, self.store, self.refreshes, replay_share=self.config.replay_share)
        self.refreshes += 1
        self._vectors = None

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score every catalogue row. [B, R]."""
        if self._vectors is None:
            self._vectors = self.learner.item_vectors()  # [R, D]
        parts = [
            self.learner.user_vectors(self._windows(histories.take(np.arange(first, last)))) @ self._vectors.T
            for first, last in _chunks(len(histories))
        ]
        scores = torch.cat(parts) if parts else torch.zeros(0, self.setting.rows)
        found: NDArray[np.float32] = scores.numpy()
        return found

    def _windows(self, histories: Histories) -> Sequences:
        width = max(min(self.config.length, int(histories.lengths.max(initial=0))), 1)
        items = histories.padded("items", width)  # [B, T]
        none = np.zeros(items.shape, np.float32)
        actions, times = histories.padded("actions", width), histories.padded("times_seconds", width)
        return of_columns(items, actions, times, none, histories.users, histories.now_seconds)

    def _observe(self, events: Interactions) -> None:
        """Append to the histories, start items that are new, count."""
        seen = self.learner.model.item_encoder.sightings
        rows = torch.unique(torch.from_numpy(events.items))
        start_new_items(self.learner.model, rows[(seen[rows] == 0) & (rows > 1)], self._draw)
        weights = event_weights(events.actions, events.values)
        columns = (events.users, events.items, events.actions, events.times_seconds, weights)
        for user, item, action, time_seconds, weight in zip(*(column.tolist() for column in columns), strict=True):
            self.store.append(user, item, action, time_seconds, weight)
        self.learner.observe(events.items, events.times_seconds)


class _Judge:
    """Ranks the validation items, keeps the best weights, and says when nothing is gained any more."""

    def __init__(self, recommender: FoundationRecommender, validation: Interactions, patience: int) -> None:
        self._recommender, self._patience = recommender, patience
        random = np.random.default_rng(recommender.setting.seed)
        kept = np.sort(random.permutation(len(validation))[:_MOST_VALIDATED])
        self._events = validation.take(kept)
        self._asked = self._histories()
        self._best, self._waited = -1.0, 0
        self._weights: dict[str, Any] = {}

    def is_done(self) -> bool:
        """Rank once more."""
        quality = self._quality()
        if quality > self._best:
            self._best, self._waited = quality, 0
            weights = self._recommender.learner.model.state_dict()
            self._weights = {name: value.clone() for name, value in weights.items()}
        else:
            self._waited += 1
        return self._waited >= self._patience

    def restore(self) -> None:
        """Go back to the best weights."""
        if self._weights:
            self._recommender.learner.model.load_state_dict(self._weights)

    def _histories(self) -> Histories:
        store, length = self._recommender.store, self._recommender.config.length
        items: OrderedDict[int, list[list[float]]] = OrderedDict()
        for place, user in enumerate(self._events.users.tolist()):
            if user not in store:
                items[place] = [[], [], []]
                continue
            window = store.cut([user], np.maximum(store.lengths([user]) - length, 0), length)
            columns = (window.items, window.actions, window.times_seconds)
            items[place] = [column[0].tolist() for column in columns]
        return Histories.of(
            [[int(item) for item in columns[0]] for columns in items.values()],
            actions=[[int(action) for action in columns[1]] for columns in items.values()],
            times_seconds=[columns[2] for columns in items.values()],
            now_seconds=self._events.times_seconds.tolist(),
            users=self._events.users.tolist(),
        )

    def _quality(self) -> float:
        """NDCG@10 over the catalogue, what a user has taken left out unless repeats are allowed."""
        gains: list[float] = []
        for first, last in _chunks(len(self._events)):
            asked = self._asked.take(np.arange(first, last))
            scores = self._recommender.score(asked)
            scores[:, :2] = -np.inf
            targets = self._events.items[first:last]
            if not self._recommender.setting.repeats:
                own = np.take_along_axis(scores, targets[:, None], 1)
                np.put_along_axis(scores, asked.padded("items", self._recommender.config.length), -np.inf, 1)
                np.put_along_axis(scores, targets[:, None], own, 1)
            ranks = ranks_of(scores, targets)
            gains += np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0).tolist()
        return float(np.mean(gains)) if gains else 0.0


def describe(model: FoundationModel, sample: Interactions) -> None:
    """Take over categories, titles and dates of publication."""
    published = sample.item_published_seconds
    for row in range(2, sample.rows):
        categories = sample.item_categories[row] if row < len(sample.item_categories) else ()
        title = sample.item_titles[row] if row < len(sample.item_titles) else ""
        names = [sample.category_names[place] for place in categories]
        date = None if published is None or not np.isfinite(published[row]) else float(published[row])
        found = metadata.tokens(names, title, slots=model.config.slots, buckets=model.config.buckets)
        model.item_encoder.describe(row, torch.from_numpy(found), date)


def _chunks(size: int) -> list[tuple[int, int]]:
    return [(first, min(first + _SCORED_AT_ONCE, size)) for first in range(0, size, _SCORED_AT_ONCE)]


def _foundation(setting: Setting) -> FoundationRecommender:
    """Sliding-window foundation model, refreshed as the stream goes by."""
    with seeded(setting.seed):
        return FoundationRecommender(setting)


def _static_windows(setting: Setting) -> FoundationRecommender:
    """Without replayed windows: what the mixture on the stream is worth."""
    return FoundationRecommender(setting, replace(FoundationRecommender.Config(), replay_share=0.0))


RECOMMENDERS: dict[str, Factory] = {"foundation": _foundation, "foundation-no-replay": _static_windows}
