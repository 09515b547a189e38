"""The network of a student or a teacher, with its optimiser and what it is told of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_store.item_table import ItemTable
from feature_store.user_state import ItemInfo
from online_models.batch import Batch, Context
from online_models.distinct import distinct
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
        self._encoded: tuple[Context, int, Tensor] | None = None

    def candidates(self, context: Context, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """Find its own best of the given rows for each context [B, most]; none where there are too few or too many."""
        if not most <= len(rows) <= _MOST_RETRIEVED_FROM:
            return np.zeros((len(context.surface), 0), np.int64)
        rows = np.sort(rows)
        users = self.user_vectors(context)
        scores = users @ self.ranker.items.weight.detach()[torch.from_numpy(rows)].T  # [B, I]
        found: NDArray[np.int64] = rows[scores.topk(most, dim=1).indices.numpy()]  # [B, K]
        return found

    def user_vectors(self, context: Context) -> Tensor:
        """Encode contexts [B, D]; those of the latest contexts are kept until the network learns."""
        held = self._encoded
        if held is None or held[0] is not context or held[1] != self.learner.steps:
            held = self._encoded = context, self.learner.steps, self.ranker.user_vectors(context)
        return held[2]

    def score(self, batch: Batch) -> Tensor:
        """Score the candidates of a batch [B, N]: its users are encoded once, for retrieval and for this."""
        return self.ranker.scores(self.user_vectors(batch.context), batch.context, batch.candidates)

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
        self._encoded = None

    def _set_published(self, row: int, time_ms: int | None) -> None:
        if time_ms is not None:
            self.ranker.set_published(row, time_ms / 1e3)

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.learner.load_state_dict(state)
        self._encoded = None


def rows_of(batch: Batch) -> NDArray[np.int64]:
    """Rows whose vectors a step on this batch moves. [K]."""
    context = batch.context
    parts = [batch.candidates.items.flatten(), context.history_items.flatten(), context.source_item]
    rows = distinct(torch.cat(parts).numpy())
    return rows[rows > 1]
