"""What a ranker must offer to be trained by the trainer and served: one contract for every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import Batch, Candidates, Context
from online_models.encoders.blended_core import (
    ENCODER_INPUTS,
    RANK_INPUTS,
    BlendedCore,
    CandidateScorer,
    CoreSizes,
    UserEncoder,
)
from online_models.encoders.gathered import Gathered
from online_models.encoders.item_table import item_table
from online_models.learner import Graph
from online_models.losses import softmax_cross_entropy
from online_models.optim.grouped import Grouped
from online_models.optim.lazy_adam import LazyAdam
from online_models.ranker import Ranker
from online_models.vocabulary import QUERY_LENGTH


@dataclass(frozen=True, kw_only=True)
class ServedSizes(CoreSizes):
    """Sizes that every family has. ``history`` is L of the served graphs."""

    catalog_rows: int
    history: int = 30
    retrieval_weight: float = 0.5


class ServedRanker(Ranker):
    """A table of item vectors and a core: an encoder ("deep") beside the counting sources ("wide").

    Every family takes the same inputs and answers under the same names, so one server serves them side by side. The
    loss is the listwise softmax cross-entropy over the candidates of the whole logit, and the same of ``u·e_j`` alone
    (logQ-corrected, so that user and item vectors also serve retrieval).

    Parameters
    ----------
    config
        Sizes.
    make_core
        Makes the family's encoder with the blend, after the item vectors are drawn.
    """

    def __init__(self, config: ServedSizes, make_core: Callable[[], BlendedCore]) -> None:
        super().__init__()
        self.sizes = config
        self.items = item_table(config.catalog_rows, config.dimension)
        self.core = make_core()

    def set_categories(self, row: int, buckets: list[int]) -> None:
        """Learn which category buckets an item belongs to; a family without use for that ignores it."""

    def has_categories(self, row: int) -> bool:
        """Whether nothing needs to be said of an item's categories any more."""
        return True

    def set_published(self, row: int, seconds: float | None) -> None:
        """Learn when an item came out, in seconds since 1970; a family without use for that ignores it."""

    def item_tables(self) -> list[Tensor]:
        """Vectors of the catalogue's rows."""
        return [self.items.weight]

    def optimizer(self, rate: float = 1e-3, wide_rate: float = 0.05) -> Grouped:
        """Adam for the encoder, Adagrad for the few weights of the wide part: Adam's steps there only add noise."""
        wide = [self.core.wide.weight, self.core.item_effect.weight]
        chosen = {id(parameter) for parameter in wide}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in chosen]
        return Grouped(LazyAdam(rest, lr=rate, fused=True), torch.optim.Adagrad(wide, lr=wide_rate))

    @torch.no_grad()
    def user_vectors(self, context: Context) -> Tensor:
        """Encode contexts for retrieval -> [B, D]."""
        return self._encode(context, self._gathered(context))[0]

    @torch.no_grad()
    def scores(self, users: Tensor, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates for user vectors [B, D] that are there already -> [B, N]."""
        deep = Gathered(self.items, candidates=candidates.items).products(users, "candidates")
        return self.core.blend(deep, context.features, candidates.source_scores, candidates.features)[0]

    def inputs(self, context: Context, candidates: Candidates) -> dict[str, Tensor]:
        """Gather the tables: the inputs of the served graph."""
        return {
            **self.plain_inputs(context, candidates),
            "history_vectors": self.items(context.history_items),  # [B, L, D]
            "source_vector": self.items(context.source_item),  # [B, D]
            "candidate_vectors": self.items(candidates.items),  # [B, N, D]
        }

    def plain_inputs(self, context: Context, candidates: Candidates) -> dict[str, Tensor]:
        """Give the inputs of the served graph that are not rows of the item table."""
        return {
            "history_actions": context.history_actions,
            "history_ages_seconds": context.history_ages_seconds,
            "history_mask": (context.history_items != 0).float(),
            "features": context.features,
            "surface": context.surface,
            "query": context.query,
            "source_scores": candidates.source_scores,
            "candidate_features": candidates.features,
        }

    def bottom(self, context: Context, candidates: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """Give what other logits may share with the main one.

        Returns
        -------
        tuple
            User vectors [B, D], the candidates' vectors [B, N, D], and what else is read of a candidate
            [B, N, 2 S + G]: what the sources say of it, and its features.
        """
        gathered = self._gathered(context, candidates)
        user = self._encode(context, gathered)[0]
        more = torch.cat([self.core.heard(candidates.source_scores), candidates.features], -1)
        return user, gathered.of("candidates"), more

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates -> [B, N]."""
        gathered = self._gathered(context, candidates)
        deep = gathered.products(self._encode(context, gathered)[0], "candidates")
        return self.core.blend(deep, context.features, candidates.source_scores, candidates.features)[0]

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Listwise loss and retrieval loss; returns (scalar, logits [B, N])."""
        total, logits, _ = self._losses(batch)
        return total, logits

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Loss, logits [B, N], and what the encoder gave besides the user vector."""
        context, candidates = batch.context, batch.candidates
        gathered = self._gathered(context, candidates)
        user, *more = self._encode(context, gathered)
        deep = gathered.products(user, "candidates")  # [B, N]
        logits, _ = self.core.blend(deep, context.features, candidates.source_scores, candidates.features)
        total = softmax_cross_entropy(logits, batch.labels, batch.offered, weights=batch.weights)
        retrieval = softmax_cross_entropy(deep, batch.labels, candidates.mask, log_q=batch.log_q, weights=batch.weights)
        return total + self.sizes.retrieval_weight * retrieval, logits, more

    def _gathered(self, context: Context, candidates: Candidates | None = None) -> Gathered:
        """Vectors of all items of a batch: "history" [B, L], "source" [B], "candidates" [B, N]."""
        more = {} if candidates is None else {"candidates": candidates.items}
        return Gathered(self.items, history=context.history_items, source=context.source_item, **more)

    def _encode(self, context: Context, gathered: Gathered) -> tuple[Tensor, ...]:
        """User vectors [B, D] and what else the encoder gives, group by group of :meth:`_groups`."""
        groups = self._groups(context.history_items)
        if len(groups) == 1:
            return self._encode_group(context, gathered, slice(None), groups[0][1])
        parts = [self._encode_group(context, gathered, torch.from_numpy(rows), length) for rows, length in groups]
        back = torch.from_numpy(np.argsort(np.concatenate([rows for rows, _ in groups])))
        return tuple(torch.cat(column)[back] for column in zip(*parts, strict=True))

    def _groups(self, history_items: Tensor) -> list[tuple[NDArray[np.int64], int]]:
        """Give examples that are encoded together, and how many of the newest places [B, L] are read of them."""
        return [(np.arange(len(history_items)), history_items.shape[1])]

    def _encode_group(
        self, context: Context, gathered: Gathered, rows: Tensor | slice, length: int
    ) -> tuple[Tensor, ...]:
        return self.core.encode(
            history_vectors=gathered.at(gathered.places["history"][rows, -length:]),  # [B, length, D]
            history_actions=context.history_actions[rows, -length:],
            history_ages_seconds=context.history_ages_seconds[rows, -length:],
            history_mask=(context.history_items[rows, -length:] != 0).float(),
            features=context.features[rows],
            surface=context.surface[rows],
            source_vector=gathered.at(gathered.places["source"][rows]),  # [B, D]
            query=context.query[rows],
        )

    def outputs(self) -> tuple[str, ...]:
        """Names of what the ``rank`` graph answers."""
        return "logits", "source_weights"

    def graphs(self) -> dict[str, Graph]:
        """``rank`` is the whole ranker; ``encode`` and ``score`` are its two halves. Item vectors stay outside.

        A server encodes a session once, retrieves with the user vector, and scores candidates from it. The halves give
        what the whole gives, to rounding.
        """
        inputs = self._example()
        dynamic = {name: {0: "B"} for name in inputs}
        for name in ("candidate_vectors", "source_scores", "candidate_features"):
            dynamic[name] = {0: "B", 1: "N"}
        context = {name: inputs[name] for name in ENCODER_INPUTS}
        scored = {name: inputs[name] for name in RANK_INPUTS}
        user, more = torch.ones(len(inputs["surface"]), self.sizes.dimension), self.outputs()[2:]
        return {
            "rank": Graph(
                module=self.core,
                inputs=inputs,
                outputs=self.outputs(),
                dynamic=dynamic,
                tables={"item_vectors": self.items.weight},
            ),
            "encode": Graph(
                module=UserEncoder(self.core),
                inputs=context,
                outputs=("user_vector", *more),
                dynamic={name: dynamic[name] for name in context},
            ),
            "score": Graph(
                module=CandidateScorer(self.core),
                inputs={"user_vector": user, **scored},
                outputs=("logits", "source_weights"),
                dynamic={"user_vector": {0: "B"}, **{name: dynamic[name] for name in scored}},
            ),
        }

    def _example(self) -> dict[str, Tensor]:
        c, batch, number = self.sizes, 2, 3
        return {
            "history_vectors": torch.zeros(batch, c.history, c.dimension),
            "history_actions": torch.zeros(batch, c.history, dtype=torch.int64),
            "history_ages_seconds": torch.zeros(batch, c.history),
            "history_mask": torch.ones(batch, c.history),
            "features": torch.ones(batch, c.features),
            "surface": torch.zeros(batch, dtype=torch.int64),
            "source_vector": torch.zeros(batch, c.dimension),
            "query": torch.zeros(batch, QUERY_LENGTH, dtype=torch.int64),
            "candidate_vectors": torch.zeros(batch, number, c.dimension),
            "source_scores": torch.zeros(batch, number, c.sources),
            "candidate_features": torch.zeros(batch, number, c.item_features),
        }
