"""UniCoRn: one ranker for recommendations, similar items and search, told what is missing by what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.batch import Batch, Candidates, Context
from online_models.encoders.item_table import item_table
from online_models.encoders.user_sides import FineTuned, UserSide
from online_models.learner import Graph
from online_models.losses import binary_cross_entropy
from online_models.ranker import Ranker
from online_models.vocabulary import QUERY_BUCKETS, QUERY_LENGTH, SURFACES, surface_row
from online_models.zoo.intent_rec import IntentRec

TASKS = ("recommend", "similar", "search")
RECOMMEND, SIMILAR, SEARCH = range(3)
Imputation = Callable[[Context, Tensor], Context]


def task_of(context: Context) -> Tensor:
    """Task of each request: what its surface says, else by its source item, else by its query. [B].

    It is the same before and after :func:`impute`.
    """
    by_content = torch.where(
        context.source_item > 0, SIMILAR, torch.where((context.query > 0).any(1), SEARCH, RECOMMEND)
    )
    named = torch.where(context.surface == surface_row("search"), SEARCH, by_content)
    return torch.where(context.surface == surface_row("similar"), SIMILAR, named)


def impute(context: Context, titles: Tensor) -> Context:
    """Fill in what a task does not bring, so that all tasks speak one language.

    A search has no source item. Similar items are asked for in the words of the source's title. A recommendation has
    neither query nor source item.

    Parameters
    ----------
    context
        As it was asked.
    titles
        [R, Q] tokens of every item's title, 0 where padded.
    """
    task = task_of(context)
    source = torch.where(task == SIMILAR, context.source_item, 0)  # [B]
    words = torch.where((task == SIMILAR).unsqueeze(1), titles[source], context.query)  # [B, Q]
    return replace(context, source_item=source, query=words * (task != RECOMMEND).unsqueeze(1))


def as_asked(context: Context, titles: Tensor) -> Context:
    """Impute nothing: what imputation is compared with."""
    return context


class UniCoRn(Ranker):
    """One pointwise ranker of ``{user, query, surface, source item, task} × item``: ``y = P(it is taken)``.

    With query q, source item s, user u and item t as vectors of one width (items are their id, the words of their
    title and their features)::

        x = [task; surface; features; |q|; q; s; u; t; q ⊙ t; s ⊙ t; u ⊙ t; sources; overlap; recommender]
        x ← W x,   then L times  x ← x + MLP(LN(x)),   then  x ← x ⊙ (V x) + x
        logit = w · x

    Loss: binary cross-entropy. ``sources`` are past engagements of the pair as the counting sources see them,
    ``overlap`` the share of the query's words in the item's title, ``recommender`` what the user side thinks of it.

    Parameters
    ----------
    config
        Sizes, see :class:`UniCoRn.Config`.
    user
        What is known of the user, see :mod:`online_models.encoders.user_sides`; None for a fine-tuned
        :class:`~online_models.zoo.intent_rec.IntentRec`.
    imputation
        Fills contexts in; :func:`as_asked` to leave them.

    References
    ----------
    UniCoRn (Netflix, 2408.10394, RecSys 2024). What differs: the surface stands for the country, sources' scores for
    the logged engagement features, the feature crossing is one multiplicative layer.

    Examples
    --------
    >>> ranker = UniCoRn(UniCoRn.Config(catalog_rows=32, features=3, sources=2, item_features=2))
    >>> ranker.set_title(5, torch.tensor([7, 9])); ranker.titles[5].tolist()
    [7, 9, 0, 0, 0, 0, 0, 0]
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes. ``features``, ``sources`` and ``item_features`` are F, S and G of the batches."""

        catalog_rows: int
        features: int
        sources: int
        item_features: int
        dimension: int = 32
        hidden: int = 64
        layers: int = 2
        history: int = 50
        dropout: float = 0.1

    def __init__(self, config: Config, user: UserSide | None = None, imputation: Imputation = impute) -> None:
        super().__init__()
        self.config, self.imputation = config, imputation
        self.user = user if user is not None else _intent_rec(config)
        self.items = item_table(config.catalog_rows, config.dimension)
        self.core = _Core(config, self.user.width)
        self.titles: Tensor
        self.register_buffer("titles", torch.zeros(config.catalog_rows, QUERY_LENGTH, dtype=torch.int64))  # [R, Q]

    def set_title(self, row: int, tokens: Tensor) -> None:
        """Take over the tokens of an item's title (see :func:`~online_models.vocabulary.query_tokens`)."""
        kept = tokens[:QUERY_LENGTH]
        self.titles[row] = F.pad(kept, (0, QUERY_LENGTH - len(kept)))

    def item_tables(self) -> list[Tensor]:
        """Vectors and titles of the catalogue's rows, and the user side's."""
        return [self.items.weight, self.titles, *self.user.item_tables()]

    def inputs(self, context: Context, candidates: Candidates) -> dict[str, Tensor]:
        """Impute and gather the tables: the inputs of the served graph."""
        task = task_of(context)
        context = self.imputation(context, self.titles)
        user, scores = self.user(context, candidates)  # [B, width], [B, N]
        return {
            "task": task,
            "surface": context.surface,
            "features": context.features,
            "query": context.query,
            "source_vector": self.items(context.source_item),  # [B, D]
            "source_title": self.titles[context.source_item],  # [B, Q]
            "user_vector": user,
            "recommender_scores": scores,
            "candidate_vectors": self.items(candidates.items),  # [B, N, D]
            "candidate_titles": self.titles[candidates.items],  # [B, N, Q]
            "source_scores": candidates.source_scores,
            "candidate_features": candidates.features,
        }

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates. [B, N]."""
        logits: Tensor = self.core(**self.inputs(context, candidates))
        return logits

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy over the candidates; (scalar, logits [B, N])."""
        logits = self(batch.context, batch.candidates)
        return binary_cross_entropy(logits, batch.labels, batch.candidates.mask, weights=batch.weights), logits

    def graphs(self) -> dict[str, Graph]:
        """``rank`` scores candidates, whatever the task; beside it the graphs of the user side."""
        c, batch, number = self.config, 2, 3
        inputs = {
            "task": torch.zeros(batch, dtype=torch.int64),
            "surface": torch.zeros(batch, dtype=torch.int64),
            "features": torch.ones(batch, c.features),
            "query": torch.zeros(batch, QUERY_LENGTH, dtype=torch.int64),
            "source_vector": torch.zeros(batch, c.dimension),
            "source_title": torch.zeros(batch, QUERY_LENGTH, dtype=torch.int64),
            "user_vector": torch.zeros(batch, self.user.width),
            "recommender_scores": torch.zeros(batch, number),
            "candidate_vectors": torch.zeros(batch, number, c.dimension),
            "candidate_titles": torch.zeros(batch, number, QUERY_LENGTH, dtype=torch.int64),
            "source_scores": torch.zeros(batch, number, c.sources),
            "candidate_features": torch.zeros(batch, number, c.item_features),
        }
        dynamic = {
            name: {0: "B", 1: "N"} if value.shape[1:2] == (number,) else {0: "B"} for name, value in inputs.items()
        }
        dynamic["features"] = {0: "B"}  # F may happen to be 3
        rank = Graph(
            module=self.core,
            inputs=inputs,
            outputs=("logits",),
            dynamic=dynamic,
            tables={"item_vectors": self.items.weight},
        )
        return {"rank": rank, **self.user.graphs()}


def _intent_rec(config: UniCoRn.Config) -> FineTuned:
    sizes = {"dimension": config.dimension, "history": config.history, "dropout": config.dropout}
    return FineTuned(IntentRec(IntentRec.Config(catalog_rows=config.catalog_rows, **sizes)), config.dimension)  # type: ignore[arg-type]


class _Core(nn.Module):
    """The part that is exported: everything but the item table and the user side."""

    def __init__(self, config: UniCoRn.Config, user_width: int) -> None:
        super().__init__()
        d, h = config.dimension, config.hidden
        self.words = nn.Embedding(QUERY_BUCKETS, d, padding_idx=0, sparse=True)
        self.tasks, self.surfaces = nn.Embedding(len(TASKS), d), nn.Embedding(len(SURFACES) + 1, d)
        for table in (self.words, self.tasks, self.surfaces):
            nn.init.normal_(table.weight, std=0.1)
        self.item_features = nn.Linear(config.item_features, d, bias=False)
        self.user = nn.Linear(user_width, d)
        self.context = nn.Linear(5 * d + config.features + 1, h)
        self.target = nn.Linear(4 * d + 2 * config.sources + 2, h)
        self.blocks = nn.ModuleList(_residual(h) for _ in range(config.layers))
        self.crossing, self.output = nn.Linear(h, h), nn.Linear(h, 1)
        # on the context alone: what is drawn must not depend on how many candidates there are
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        task: Tensor,
        surface: Tensor,
        features: Tensor,
        query: Tensor,
        source_vector: Tensor,
        source_title: Tensor,
        user_vector: Tensor,
        recommender_scores: Tensor,
        candidate_vectors: Tensor,
        candidate_titles: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> Tensor:
        """Logits. [B, N]."""
        items = candidate_vectors + self._mean(candidate_titles) + self.item_features(candidate_features)  # [B, N, D]
        asked, source = self._mean(query), source_vector + self._mean(source_title)  # [B, D]
        user, length = self.user(user_vector), (query > 0).sum(-1, keepdim=True) / QUERY_LENGTH  # [B, D], [B, 1]
        known = torch.cat([self.tasks(task), self.surfaces(surface), asked, source, user, features, length], -1)
        crossed = [items, *(items * side.unsqueeze(1) for side in (asked, source, user))]  # each [B, N, D]
        share = source_scores / source_scores.amax(1, keepdim=True).clamp(min=1e-6)  # [B, N, S]
        # inner products grow with the width; divided they stand level with the rest
        recommended = recommender_scores.unsqueeze(-1) / user_vector.shape[-1] ** 0.5  # [B, N, 1]
        told = [share, (share + 1e-2).log(), _overlap(query, candidate_titles), recommended]
        x = self.context(self.dropout(known)).unsqueeze(1) + self.target(torch.cat([*crossed, *told], -1))  # [B, N, H]
        for block in self.blocks:
            x = x + block(x)
        x = x * self.crossing(x) + x
        logits: Tensor = self.output(x).squeeze(-1)
        return logits

    def _mean(self, tokens: Tensor) -> Tensor:
        """Mean vector of words [..., Q], zeros where there are none. [..., D]."""
        mean: Tensor = self.words(tokens).sum(-2) / (tokens > 0).sum(-1, keepdim=True).clamp(min=1)
        return mean


def _residual(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


def _overlap(query: Tensor, titles: Tensor) -> Tensor:
    """Share of the query's words [B, Q] that stand in each title [B, N, Q]. [B, N, 1]."""
    asked = query[:, None, :, None]  # [B, 1, Q, 1]
    found = ((asked == titles.unsqueeze(2)) & (asked > 0)).any(-1)  # [B, N, Q]
    return found.sum(-1, keepdim=True) / (query > 0).sum(-1).clamp(min=1)[:, None, None]
