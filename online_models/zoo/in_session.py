"""In-session ranker: intents first, then items, with the counting sources beside the encoder."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from online_models.batch import Batch, Candidates, Context
from online_models.encoders.intents import (
    AGE_EDGES_DAYS,
    FAMILIARITIES,
    Intent,
    age_labels,
    category_overlap,
    familiarity_labels,
)
from online_models.encoders.item_table import item_table
from online_models.encoders.session_core import ENCODER_INPUTS, RANK_INPUTS, SessionCore, SessionEncoder, SessionSizes
from online_models.encoders.windows import SECONDS_A_WEEK
from online_models.learner import Graph
from online_models.losses import softmax_cross_entropy
from online_models.optim.grouped import Grouped
from online_models.optim.lazy_adam import LazyAdam
from online_models.ranker import Ranker
from online_models.vocabulary import ACTIONS, QUERY_LENGTH

CATEGORY_BUCKETS = 64
INTENTS = (
    Intent(name="actions", classes=len(ACTIONS) + 1),
    Intent(name="categories", classes=CATEGORY_BUCKETS),
    Intent(name="ages", classes=len(AGE_EDGES_DAYS) + 1),
    Intent(name="familiarity", classes=len(FAMILIARITIES)),
)


class InSessionRanker(Ranker):
    """Ranks candidates by a session transformer ("deep") and by the counting sources ("wide"), weighed by context.

    With history tokens ``x_k = LN(W [item; action; time])`` and one last token made of the context (features, surface,
    query, source item)::

        E   = Transformer_1(x)                           at the context token
        p_i = head_i(E)                                  intents: action, categories, age, familiarity
        Z   = Σ_i a_i · Proj_i(p_i),  a = softmax_i(w · Proj_i(p_i))
        u   = Transformer_2([E_k; Z])                    at the context token
        logit(j) = w_0(c) · u·e_j  +  Σ_s w_s(c) · f_s(j)  +  v · g_j

    In both transformers half of the heads see the whole history and half its last week (``window_seconds``). Here
    ``f_s(j)`` are ``v_s(j) / max_j v_s(j)`` of candidate source ``s`` and ``log`` of it plus ε, ``g_j`` the item's
    features, and every ``w(c)`` is linear in the context features ``c``, whose entry 0 is the constant 1.

    The loss is the listwise softmax cross-entropy over the candidates of the whole logit, the same of ``u·e_j`` alone
    (logQ-corrected, so that user and item vectors also serve retrieval), and ``λ ·`` the intents' losses.

    Parameters
    ----------
    config
        Sizes, see :class:`InSessionRanker.Config`.

    References
    ----------
    IntentRec (Netflix, 2408.05353): intent heads that feed a separate item encoder. UniCoRn (Netflix, 2408.10394): one
    model for recommendations, similar items and search, its context imputed. What differs: the short-term window is a
    matter of heads and no encoder of its own, one layer each, and the sources' scores enter beside the encoder.

    Examples
    --------
    >>> ranker = InSessionRanker(InSessionRanker.Config(catalog_rows=32, features=3, sources=2, item_features=2))
    >>> sorted(ranker.graphs())
    ['encode', 'rank']
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes. ``features``, ``sources`` and ``item_features`` are F, S and G of the batches."""

        catalog_rows: int
        features: int
        sources: int
        item_features: int
        dimension: int = 64
        heads: int = 2
        history: int = 30
        window_seconds: float = SECONDS_A_WEEK
        dropout: float = 0.1
        intent_weight: float = 0.1
        retrieval_weight: float = 0.5

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.items = item_table(config.catalog_rows, config.dimension)
        sizes = SessionSizes(**{field.name: getattr(config, field.name) for field in fields(SessionSizes)})
        self.core = SessionCore(sizes, INTENTS)
        self.item_categories: Tensor
        self.register_buffer("item_categories", torch.zeros(config.catalog_rows, CATEGORY_BUCKETS))  # [R, C]
        self.item_published_seconds: Tensor  # [R] -inf where unknown
        unknown = torch.full((config.catalog_rows,), -torch.inf, dtype=torch.float64)
        self.register_buffer("item_published_seconds", unknown)

    def set_categories(self, row: int, buckets: list[int]) -> None:
        """Tell the intent head which category buckets an item belongs to (labels only; nothing is scored by it)."""
        self.item_categories[row] = 0
        self.item_categories[row, buckets] = 1

    def set_published(self, row: int, seconds: float | None) -> None:
        """Tell the intent head when an item came out, in seconds since 1970 (a label only); None: not known."""
        self.item_published_seconds[row] = -torch.inf if seconds is None else seconds

    def item_tables(self) -> list[Tensor]:
        """Vectors and labels of the catalogue's rows."""
        return [self.items.weight, self.item_categories, self.item_published_seconds]

    def optimizer(self, rate: float = 1e-3, wide_rate: float = 0.05) -> Grouped:
        """Adam for the encoder, Adagrad for the few weights of the wide part: Adam's steps there only add noise."""
        wide = [self.core.wide.weight, self.core.item_effect.weight]
        chosen = {id(parameter) for parameter in wide}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in chosen]
        return Grouped(LazyAdam(rest, lr=rate), torch.optim.Adagrad(wide, lr=wide_rate))

    @torch.no_grad()
    def user_vectors(self, context: Context) -> Tensor:
        """Encode contexts for retrieval -> [B, D]."""
        user: Tensor = self.core.encode(**self._context_inputs(context))[0]
        return user

    def _context_inputs(self, context: Context) -> dict[str, Tensor]:
        return {
            "history_vectors": self.items(context.history_items),  # [B, L, D]
            "history_actions": context.history_actions,
            "history_ages_seconds": context.history_ages_seconds,
            "history_mask": (context.history_items != 0).float(),
            "features": context.features,
            "surface": context.surface,
            "source_vector": self.items(context.source_item),  # [B, D]
            "query": context.query,
        }

    def inputs(self, context: Context, candidates: Candidates) -> dict[str, Tensor]:
        """Gather the tables: the inputs of the served graph."""
        return {
            **self._context_inputs(context),
            "candidate_vectors": self.items(candidates.items),  # [B, N, D]
            "source_scores": candidates.source_scores,
            "candidate_features": candidates.features,
        }

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates -> [B, N]."""
        logits: Tensor = self.core(**self.inputs(context, candidates))[0]
        return logits

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Listwise loss, retrieval loss and intents' losses; returns (scalar, logits [B, N])."""
        inputs = self.inputs(batch.context, batch.candidates)
        user, *intents = self.core.encode(**{name: inputs[name] for name in ENCODER_INPUTS})
        logits, deep, _ = self.core.rank(user, **{name: inputs[name] for name in RANK_INPUTS})
        mask = batch.candidates.mask
        total = softmax_cross_entropy(logits, batch.labels, batch.offered, weights=batch.weights)
        retrieval = softmax_cross_entropy(deep, batch.labels, mask, log_q=batch.log_q, weights=batch.weights)
        return total + self.config.retrieval_weight * retrieval + self._intents(batch, intents), logits

    def _intents(self, batch: Batch, logits: list[Tensor]) -> Tensor:
        """``λ Σ_i`` of the intents' losses, over the examples in which something was taken."""
        history = batch.context.history_items
        chosen = batch.candidates.items.gather(1, batch.labels.argmax(1, keepdim=True)).squeeze(1)  # [B]
        categories, previous = self.item_categories[chosen], self.item_categories[history[:, -1]]  # [B, C]
        again = (history == chosen.unsqueeze(1)).any(1)
        labels = (
            F.one_hot(batch.actions, len(ACTIONS) + 1).float(),
            categories,  # negatives are not known, so each right one counts against all buckets
            age_labels(batch.context.time_seconds - self.item_published_seconds[chosen]),
            familiarity_labels(again, category_overlap(categories, previous), again | (previous.sum(-1) > 0)),
        )
        losses = [intent.losses(given, told) for intent, given, told in zip(INTENTS, logits, labels, strict=True)]
        taken = batch.labels.sum(1) > 0  # [B]
        return self.config.intent_weight * (torch.stack(losses).sum(0) * taken * batch.weights).mean()

    def graphs(self) -> dict[str, Graph]:
        """``rank`` scores candidates, ``encode`` gives the user vector for retrieval; item vectors stay outside."""
        inputs = self._example()
        context = {name: inputs[name] for name in ENCODER_INPUTS}
        dynamic = {name: {0: "B"} for name in inputs}
        for name in ("candidate_vectors", "source_scores", "candidate_features"):
            dynamic[name] = {0: "B", 1: "N"}
        outputs = ("logits", "source_weights", *(f"intent_{intent.name}" for intent in INTENTS))
        tables = {"item_vectors": self.items.weight}
        return {
            "rank": Graph(module=self.core, inputs=inputs, outputs=outputs, dynamic=dynamic, tables=tables),
            "encode": Graph(
                module=SessionEncoder(self.core),
                inputs=context,
                outputs=("user_vector",),
                dynamic={name: dynamic[name] for name in context},
            ),
        }

    def _example(self) -> dict[str, Tensor]:
        c, batch, number = self.config, 2, 3
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
