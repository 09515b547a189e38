"""The network of a student or a teacher, with its optimiser and what it is told of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_store.item_table import ItemTable
from feature_store.user_state import ItemInfo
from online_models.batch import Batch, Context
from online_models.learner import TorchLearner, seeded
from online_models.optim import Clippy
from online_models.vocabulary import category_buckets
from streamer.families import make_ranker
from streamer.settings import Settings

_MOST_RETRIEVED_FROM = 100_000  # rows that the model scores to find its own candidates while training


class Network:
    """Ranker and learner of one model.

    Parameters
    ----------
    settings
        Family, sizes and seed.
    sources
        S, candidate sources whose scores it reads.
    """

    def __init__(self, settings: Settings, sources: int) -> None:
        sizes = settings.learning
        with seeded(sizes.seed):
            self.ranker = make_ranker(settings, sources)
        optimizer = Clippy(self.ranker.optimizer()) if sizes.clippy else self.ranker.optimizer()
        self.learner = TorchLearner(self.ranker, lambda _: optimizer, clip_norm=5.0, seed=sizes.seed)

    def candidates(self, context: Context, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """Find its own best of the given rows for each context [B, most]; none where there are too few or too many."""
        if not most <= len(rows) <= _MOST_RETRIEVED_FROM:
            return np.zeros((len(context.surface), 0), np.int64)
        rows = np.sort(rows)
        users = self.ranker.user_vectors(context)  # [B, D]
        scores = users @ self.ranker.items.weight.detach()[torch.from_numpy(rows)].T  # [B, I]
        found: NDArray[np.int64] = rows[scores.topk(most, dim=1).indices.numpy()]  # [B, K]
        return found

    def describe(self, row: int, item: ItemInfo) -> None:
        """Tell the intent heads what the catalogue says of an item."""
        if item.categories:
            self.ranker.set_categories(row, category_buckets(item.categories))
        self._set_published(row, item.published_time_ms)

    def describe_new(self, rows: Mapping[int, str], items: ItemTable) -> None:
        """Tell the intent heads what is known of items that have been seen just now."""
        for row, item_id in rows.items():
            state = items.get(item_id)
            if state is None:
                continue
            self._set_published(row, state.published_time_ms or state.first_seen_ms or None)
            if state.categories and not self.ranker.has_categories(row):
                self.ranker.set_categories(row, category_buckets(state.categories))

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Give rows [K] whose item has left a fresh start."""
        self.learner.forget(torch.from_numpy(rows))

    def _set_published(self, row: int, time_ms: int | None) -> None:
        if time_ms is not None:
            self.ranker.set_published(row, time_ms / 1e3)

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.learner.load_state_dict(state)


def rows_of(batch: Batch) -> NDArray[np.int64]:
    """Rows whose vectors a step on this batch moves. [K]."""
    context = batch.context
    parts = [batch.candidates.items.flatten(), context.history_items.flatten(), context.source_item]
    rows: NDArray[np.int64] = torch.unique(torch.cat(parts)).numpy()
    return rows[rows > 1]
