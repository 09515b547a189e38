"""In-session ranker: intents first, then items, with the counting sources beside the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.batch import Batch, Candidates, Context
from online_models.encoders.transformer import TransformerBlock, causal_mask
from online_models.learner import Graph
from online_models.losses import softmax_cross_entropy
from online_models.optim.grouped import Grouped
from online_models.optim.lazy_adam import LazyAdam
from online_models.ranker import Ranker
from online_models.vocabulary import ACTIONS, QUERY_BUCKETS, QUERY_LENGTH, SURFACES

CATEGORY_BUCKETS = 64
EPSILON = 1e-2  # a source that does not know an item speaks as if with a hundredth of its loudest score
FAINTEST = 1e-6


class InSessionRanker(Ranker):
    """Ranks candidates by a session transformer ("deep") and by the counting sources ("wide"), weighed by context.

    With history tokens ``x_k = LN(W [item; action; time])`` and one last token made of the context (features, surface,
    query, source item)::

        E   = Transformer_1(x)                           at the context token
        p_i = head_i(E)                                  intents: next action, next categories
        Z   = Σ_i a_i · Proj_i(p_i),  a = softmax_i(w · Proj_i(p_i))
        u   = Transformer_2([E_k; Z])                    at the context token
        logit(j) = w_0(c) · u·e_j  +  Σ_s w_s(c) · f_s(j)  +  v · g_j

    where ``f_s(j)`` are ``v_s(j) / max_j v_s(j)`` of candidate source ``s`` and ``log`` of it plus ε, ``g_j`` the
    item's features, and every ``w(c)`` is linear in the context features ``c``, whose entry 0 is the constant 1.

    The loss is the listwise softmax cross-entropy over the candidates of the whole logit, the same of ``u·e_j`` alone
    (logQ-corrected, so that user and item vectors also serve retrieval), and ``λ ·`` the intents' losses.

    Parameters
    ----------
    config
        Sizes, see :class:`InSessionRanker.Config`.

    References
    ----------
    IntentRec (Netflix, 2408.05353): intent heads that feed a separate item encoder. UniCoRn (Netflix, 2408.10394): one
    model for recommendations, similar items and search, its context imputed with nulls. What differs: the short-term
    window is the bounded history itself, one layer each, and the sources' scores enter beside the encoder.

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
        dropout: float = 0.1
        intent_weight: float = 0.1
        retrieval_weight: float = 0.5

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(config.catalog_rows, config.dimension, padding_idx=0, sparse=True)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.zeros_(self.items.weight[0:1].detach())
        self.core = _Core(config)
        self.item_categories: Tensor
        self.register_buffer("item_categories", torch.zeros(config.catalog_rows, CATEGORY_BUCKETS))  # [R, C]

    def set_categories(self, row: int, buckets: list[int]) -> None:
        """Tell the intent head which category buckets an item belongs to (labels only; nothing is scored by it)."""
        self.item_categories[row] = 0
        self.item_categories[row, buckets] = 1

    def item_tables(self) -> list[Tensor]:
        """Vectors and category labels of the catalogue's rows."""
        return [self.items.weight, self.item_categories]

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
        user, actions, categories = self.core.encode(**{name: inputs[name] for name in ENCODER_INPUTS})
        logits, deep, _ = self.core.rank(user, **{name: inputs[name] for name in RANK_INPUTS})
        mask = batch.candidates.mask
        total = softmax_cross_entropy(logits, batch.labels, batch.offered, weights=batch.weights)
        retrieval = softmax_cross_entropy(deep, batch.labels, mask, log_q=batch.log_q, weights=batch.weights)
        return total + self.config.retrieval_weight * retrieval + self._intents(batch, actions, categories), logits

    def _intents(self, batch: Batch, actions: Tensor, categories: Tensor) -> Tensor:
        taken = batch.labels.sum(1) > 0  # [B]
        positive = batch.candidates.items[torch.arange(len(batch)), batch.labels.argmax(1)]  # [B]
        labels = self.item_categories[positive]  # [B, C]
        action_loss = F.cross_entropy(actions, batch.actions, reduction="none") * taken
        # Negatives are not known for categories, so each positive label counts once against all buckets.
        category_loss = -(labels * F.log_softmax(categories, -1)).sum(-1) / labels.sum(-1).clamp(min=1)
        return self.config.intent_weight * ((action_loss + category_loss * taken) * batch.weights).mean()

    def graphs(self) -> dict[str, Graph]:
        """``rank`` scores candidates, ``encode`` gives the user vector for retrieval; item vectors stay outside."""
        inputs = self._example()
        context = {name: inputs[name] for name in ENCODER_INPUTS}
        dynamic = {name: {0: "B"} for name in inputs}
        for name in ("candidate_vectors", "source_scores", "candidate_features"):
            dynamic[name] = {0: "B", 1: "N"}
        outputs = ("logits", "source_weights", "intent_actions", "intent_categories")
        tables = {"item_vectors": self.items.weight}
        return {
            "rank": Graph(module=self.core, inputs=inputs, outputs=outputs, dynamic=dynamic, tables=tables),
            "encode": Graph(
                module=_Encode(self.core),
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


ENCODER_INPUTS = (
    "history_vectors",
    "history_actions",
    "history_ages_seconds",
    "history_mask",
    "features",
    "surface",
    "source_vector",
    "query",
)
RANK_INPUTS = ("features", "candidate_vectors", "source_scores", "candidate_features")


class _Core(nn.Module):
    """The part that is exported: everything but the item table."""

    def __init__(self, config: InSessionRanker.Config) -> None:
        super().__init__()
        d = config.dimension
        self.actions = nn.Embedding(len(ACTIONS) + 1, d)
        self.surfaces = nn.Embedding(len(SURFACES) + 1, d)
        self.words = nn.Embedding(QUERY_BUCKETS, d, padding_idx=0, sparse=True)
        self.times = nn.Linear(2, d)
        self.context = nn.Linear(config.features + 3 * d, d)
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        self.intent_encoder = TransformerBlock(d, config.heads, config.dropout)
        self.item_encoder = TransformerBlock(d, config.heads, config.dropout)
        self.action_head = nn.Linear(d, len(ACTIONS) + 1)
        self.category_head = nn.Linear(d, CATEGORY_BUCKETS)
        self.action_projection = nn.Linear(len(ACTIONS) + 1, d)
        self.category_projection = nn.Linear(CATEGORY_BUCKETS, d)
        self.intent_attention = nn.Linear(d, 1)
        self.wide = nn.Linear(config.features, 2 * config.sources + 1, bias=False)
        self.item_effect = nn.Linear(config.item_features, 1, bias=False)
        self._start(config.sources)

    def _start(self, sources: int) -> None:
        """Start as an even blend of the sources: before anything is learnt the list is already theirs."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        with torch.no_grad():
            self.wide.weight.zero_()
            self.wide.weight[:sources, 0] = 0.1  # log(v / max v + ε)
            self.wide.weight[sources : 2 * sources, 0] = 1.0  # v / max v
            self.wide.weight[2 * sources, 0] = 1.0
            self.item_effect.weight.zero_()

    def forward(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        features: Tensor,
        surface: Tensor,
        source_vector: Tensor,
        query: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits [B, N], the sources' weights [B, 2 S + 1], and the intents."""
        user, actions, categories = self.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )
        logits, _, weights = self.rank(user, features, candidate_vectors, source_scores, candidate_features)
        return logits, weights, actions.softmax(-1), categories.softmax(-1)

    def encode(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        features: Tensor,
        surface: Tensor,
        source_vector: Tensor,
        query: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """User vector [B, D] and the intents' logits."""
        ages = history_ages_seconds
        gaps = (torch.cat([ages[:, :1], ages[:, :-1]], 1) - ages).clamp(min=0)  # [B, L] seconds since the one before
        times = self.times(torch.stack([ages, gaps], -1).clamp(min=0).log1p() / 10)  # [B, L, D]
        # The table's vectors are small (they meet in a dot product): scaled up they stand level with the other parts.
        scale = history_vectors.shape[-1] ** 0.5
        tokens = (history_vectors * scale + self.actions(history_actions) + times) * history_mask.unsqueeze(-1)
        words = self.words(query).sum(1) / (query > 0).sum(1, keepdim=True).clamp(min=1)  # [B, D]
        asked = torch.cat([features, self.surfaces(surface), words, source_vector * scale], -1)
        tokens = torch.cat([tokens, self.context(asked).unsqueeze(1)], 1)  # [B, L + 1, D]
        tokens = self.dropout(self.norm(tokens))
        allowed = causal_mask(history_mask)
        encoded = self.intent_encoder(tokens, allowed)
        actions, categories = self.action_head(encoded[:, -1]), self.category_head(encoded[:, -1])
        intents = torch.stack(
            [self.action_projection(actions.softmax(-1)), self.category_projection(categories.softmax(-1))], 1
        )  # [B, 2, D]
        intent = (self.intent_attention(intents).softmax(1) * intents).sum(1, keepdim=True)  # [B, 1, D]
        user = self.item_encoder(encoded + intent, allowed, queries=1).squeeze(1)  # [B, D]
        return user, actions, categories

    def rank(
        self,
        user: Tensor,
        features: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whole logits [B, N], the encoder's own [B, N], and the weights [B, 2 S + 1]."""
        deep = torch.einsum("bd,bnd->bn", user, candidate_vectors)
        share = source_scores / source_scores.amax(1, keepdim=True).clamp(min=FAINTEST)  # [B, N, S]
        heard = torch.cat([(share + EPSILON).log(), share], -1)  # [B, N, 2 S]
        weights = self.wide(features)  # [B, 2 S + 1]
        blended = torch.einsum("bns,bs->bn", heard, weights[:, :-1]) + weights[:, -1:] * deep
        return blended + self.item_effect(candidate_features).squeeze(-1), deep, weights


class _Encode(nn.Module):
    """The user vector alone."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        features: Tensor,
        surface: Tensor,
        source_vector: Tensor,
        query: Tensor,
    ) -> Tensor:
        """User vector [B, D]."""
        user: Tensor = self.core.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )[0]
        return user
