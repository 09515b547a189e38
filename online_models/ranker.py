"""What a torch system implements: a ranker scores candidates, a retriever puts items and contexts in one space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from online_models.batch import Batch, Candidates, Context
from online_models.learner import Graph
from online_models.losses import softmax_cross_entropy


class Ranker(nn.Module):
    """A system that scores candidates in their context.

    A system implements :meth:`forward`; :meth:`loss` is the listwise softmax unless it has its own, and
    :meth:`graphs` names what can be served. :class:`~online_models.learner.TorchLearner` supplies the rest.
    """

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score the candidates, larger is better. [B, N]."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(context, candidates) -> [B, N]")

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of a batch and the logits that it came from (a distillation loss reads them): scalar, [B, N]."""
        logits = self(batch.context, batch.candidates)  # [B, N]
        mask = batch.candidates.mask
        return softmax_cross_entropy(logits, batch.labels, mask, log_q=batch.log_q, weights=batch.weights), logits

    def graphs(self) -> dict[str, Graph]:
        """Named computations to serve; none unless the system names them."""
        return {}

    def item_tables(self) -> list[Tensor]:
        """Parameters and buffers indexed by catalogue row, so that a row whose item has left can start afresh."""
        return []

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run :meth:`forward`."""
        scores: Tensor = super().__call__(*args, **kwargs)
        return scores


class Retriever(Ranker):
    """A ranker whose score is an inner product, so that an ANN index can find its best items.

    With M interests a context has M vectors and an item is scored by the nearest: ``max_m ⟨c_m, e(i)⟩``.
    """

    def embed_context(self, context: Context) -> Tensor:
        """Vectors of the contexts. [B, D] or [B, M, D]."""
        raise NotImplementedError(f"{type(self).__name__} must define embed_context(context) -> [B, D] or [B, M, D]")

    def embed_items(self, items: Tensor, features: Tensor) -> Tensor:
        """Vectors of items by row [...] and item features [..., G]. [..., D]."""
        raise NotImplementedError(f"{type(self).__name__} must define embed_items(items, features) -> [..., D]")

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates by inner product with the nearest interest. [B, N]."""
        interests = self.embed_context(context)  # [B, D] or [B, M, D]
        if interests.dim() == 2:
            interests = interests[:, None]  # [B, 1, D]
        vectors = self.embed_items(candidates.items, candidates.features)  # [B, N, D]
        return torch.einsum("bmd,bnd->bmn", interests, vectors).amax(dim=1)  # [B, N]
