"""HSTU for ranking: each candidate attends to the history itself, and M-FALCON scores many at the price of few."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.batch import Batch, Candidates, Context
from online_models.encoders.hstu import HSTUEncoder
from online_models.encoders.item_table import item_table
from online_models.learner import Graph
from online_models.losses import softmax_cross_entropy
from online_models.ranker import Ranker
from online_models.vocabulary import ACTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryCache:
    """What scoring needs of an encoded history; it stays valid until the next event."""

    keys: Tensor  # [B, layers, H, L, C]
    values: Tensor  # [B, layers, H, L, C]
    mask: Tensor  # [B, L]


class HSTURanker(Ranker):
    """Target-aware generative ranker with M-FALCON scoring.

    A candidate is the token that would come next, with no action yet. It attends to the history and to itself, in every
    layer, and a small head reads the score off its last state. Candidates never see each other, and all stand at the
    same position and time, so their order and their number change nothing. Hence the keys and values of the history
    are computed once (:meth:`encode`), and candidates pass in microbatches of ``b`` (:meth:`score`) at
    ``O(n² d + m n d)`` for m of them, not ``O(m n² d)`` as when each is encoded with the history
    (:meth:`reencode`, equal to rounding).

    The loss is the listwise softmax over candidates that serving would have offered.

    Parameters
    ----------
    config
        Sizes, see :class:`HSTURanker.Config`.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words", ICML 2024 (2402.17152), sections 2.2 and 3.3. What differs: an
    item and its action are one token; the head has one task; the gap of a query counts from its own time, so that a
    cache does not depend on when the list is asked for; features of the request enter with the candidate.

    Examples
    --------
    >>> from online_models.checks import SIZES, example_batch
    >>> sizes = HSTURanker.Config(catalog_rows=SIZES.rows, features=5, sources=4, item_features=3)
    >>> ranker, batch = HSTURanker(sizes).eval(), example_batch(seed=1)
    >>> cache = ranker.encode(batch.context)
    >>> few = ranker.score(cache, batch.context, batch.candidates, microbatch=5)
    >>> torch.allclose(few, ranker.reencode(batch.context, batch.candidates), atol=1e-5)
    True
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes. ``features``, ``sources`` and ``item_features`` are F, S and G of the batches."""

        catalog_rows: int
        features: int
        sources: int
        item_features: int
        dimension: int = 64
        layers: int = 2
        heads: int = 2
        history: int = 50
        dropout: float = 0.1

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.items = item_table(config.catalog_rows, config.dimension)
        self.core = _Core(config)

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates, all in one microbatch. [B, N]."""
        return self.score(self.encode(context), context, candidates)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Listwise softmax over what serving would have offered; scalar and logits [B, N]."""
        logits = self(batch.context, batch.candidates)
        return softmax_cross_entropy(logits, batch.labels, batch.offered, weights=batch.weights), logits

    def item_tables(self) -> list[Tensor]:
        """Vectors of the catalogue's rows."""
        return [self.items.weight]

    def encode(self, context: Context) -> HistoryCache:
        """Keys and values of the histories."""
        mask = (context.history_items != 0).float()  # [B, L]
        vectors, ages = self.items(context.history_items), context.history_ages_seconds  # [B, L, D], [B, L]
        keys, values = self.core.encode(vectors, context.history_actions, ages, mask)
        return HistoryCache(keys=keys, values=values, mask=mask)

    def score(
        self, cache: HistoryCache, context: Context, candidates: Candidates, microbatch: int | None = None
    ) -> Tensor:
        """Score candidates against encoded histories, ``microbatch`` at a time (None: all at once). [B, N].

        Raises
        ------
        ValueError
            ``microbatch`` is less than 1.
        """
        if microbatch is not None and microbatch < 1:
            raise ValueError(f"microbatch is {microbatch}; it must be at least 1, or None for all candidates at once")
        ages, scores = context.history_ages_seconds, []
        for part in _slices(candidates.items.shape[1], microbatch):
            tokens = self._candidate_tokens(context, candidates, part)  # [B, b, D]
            scores.append(self.core.score(cache.keys, cache.values, cache.mask, ages, tokens))
        return torch.cat(scores, 1)

    def _candidate_tokens(self, context: Context, candidates: Candidates, part: slice) -> Tensor:
        vectors = self.items(candidates.items[:, part])  # [B, b, D]
        sources, features = candidates.source_scores[:, part], candidates.features[:, part]
        return self.core.candidate_tokens(context.features, vectors, sources, features)

    def reencode(self, context: Context, candidates: Candidates) -> Tensor:
        """Score by the definition: encode every history anew with each candidate behind it. [B, N]."""
        examples, count = candidates.items.shape
        mask = (context.history_items != 0).float()  # [B, L]
        past = self.core.event_tokens(self.items(context.history_items), context.history_actions, mask)  # [B, L, D]
        last = self._candidate_tokens(context, candidates, slice(None)).flatten(0, 1)[:, None]  # [B N, 1, D]
        tokens = torch.cat([past.repeat_interleave(count, 0), last], 1)  # [B N, L + 1, D]
        ages = F.pad(context.history_ages_seconds, (0, 1)).repeat_interleave(count, 0)  # [B N, L + 1]
        mask = F.pad(mask, (0, 1), value=1.0).repeat_interleave(count, 0)
        states = self.core.encoder(tokens, mask, key_ages=ages, query_ages=ages)[0]
        return self.core.read(states[:, -1]).view(examples, count)

    def graphs(self) -> dict[str, Graph]:
        """``encode`` gives a history's keys and values, ``score`` a microbatch's logits; item vectors stay outside."""
        c, batch, count = self.config, 2, 3
        history = {
            "history_vectors": torch.ones(batch, c.history, c.dimension),
            "history_actions": torch.ones(batch, c.history, dtype=torch.int64),
            "history_ages_seconds": torch.zeros(batch, c.history),
            "history_mask": torch.ones(batch, c.history),
        }
        cached = (batch, c.layers, c.heads, c.history, c.dimension // c.heads)
        scored = {
            "keys": torch.zeros(cached),
            "values": torch.zeros(cached),
            "history_mask": torch.ones(batch, c.history),
            "history_ages_seconds": torch.zeros(batch, c.history),
            "features": torch.ones(batch, c.features),
            "candidate_vectors": torch.zeros(batch, count, c.dimension),
            "source_scores": torch.zeros(batch, count, c.sources),
            "candidate_features": torch.zeros(batch, count, c.item_features),
        }
        lists = ("candidate_vectors", "source_scores", "candidate_features")
        axes: dict[str, dict[int, str]] = {
            name: {0: "B", 1: "N"} if name in lists else {0: "B"} for name in {**history, **scored}
        }
        tables = {"item_vectors": self.items.weight}
        encode_axes, score_axes = ({name: axes[name] for name in given} for given in (history, scored))
        return {
            "encode": Graph(
                module=_Encode(self.core),
                inputs=history,
                outputs=("keys", "values"),
                dynamic=encode_axes,
                tables=tables,
            ),
            "score": Graph(
                module=_Score(self.core), inputs=scored, outputs=("logits",), dynamic=score_axes, tables=tables
            ),
        }


class _Core(nn.Module):
    """Everything but the item table."""

    def __init__(self, config: HSTURanker.Config) -> None:
        super().__init__()
        c = config
        self.actions = nn.Embedding(len(ACTIONS) + 1, c.dimension)
        nn.init.normal_(self.actions.weight, std=0.02)
        self.context = nn.Linear(c.features, c.dimension)
        self.known = nn.Linear(c.sources + c.item_features, c.dimension, bias=False)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = HSTUEncoder(c.dimension, c.heads, c.layers, c.history, c.dropout)
        # no bias at the end: a listwise loss does not see it, so only noise would move it
        last = nn.Linear(c.dimension, 1, bias=False)
        self.head = nn.Sequential(nn.LayerNorm(c.dimension), nn.Linear(c.dimension, c.dimension), nn.GELU(), last)

    def encode(self, vectors: Tensor, actions: Tensor, ages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a history, each [B, layers, H, L, C]."""
        tokens = self.event_tokens(vectors, actions, mask)
        _, keys, values = self.encoder(tokens, mask, key_ages=ages, query_ages=ages)
        return keys, values

    def score(self, keys: Tensor, values: Tensor, mask: Tensor, ages: Tensor, tokens: Tensor) -> Tensor:
        """Logits of candidate tokens [B, N, D] -> [B, N]."""
        return self.read(self.encoder.extend(tokens, keys, values, mask, key_ages=ages))

    def event_tokens(self, vectors: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Tokens of events, 0 where padded. [B, L, D]."""
        tokens = self.dropout(vectors * vectors.shape[-1] ** 0.5 + self.actions(actions))  # [B, L, D]
        masked: Tensor = tokens * mask.unsqueeze(-1)
        return masked

    def candidate_tokens(self, features: Tensor, vectors: Tensor, sources: Tensor, item_features: Tensor) -> Tensor:
        """Tokens of candidates in their context. [B, N, D]."""
        known = self.known(torch.cat([sources, item_features], -1))  # [B, N, D]
        tokens: Tensor = vectors * vectors.shape[-1] ** 0.5 + known + self.context(features)[:, None]
        return tokens

    def read(self, states: Tensor) -> Tensor:
        """Score of a candidate's last state. [..., D] -> [...]."""
        scores: Tensor = self.head(states).squeeze(-1)
        return scores


class _Encode(nn.Module):
    """The graph of a history."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(
        self, history_vectors: Tensor, history_actions: Tensor, history_ages_seconds: Tensor, history_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values, each [B, layers, H, L, C]."""
        return self.core.encode(history_vectors, history_actions, history_ages_seconds, history_mask)


class _Score(nn.Module):
    """The graph of a microbatch of candidates."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(
        self,
        keys: Tensor,
        values: Tensor,
        history_mask: Tensor,
        history_ages_seconds: Tensor,
        features: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> Tensor:
        """Logits [B, N]."""
        tokens = self.core.candidate_tokens(features, candidate_vectors, source_scores, candidate_features)
        return self.core.score(keys, values, history_mask, history_ages_seconds, tokens)


def _slices(count: int, size: int | None) -> list[slice]:
    """Microbatches of a list; an empty list is one empty microbatch."""
    step = size or max(count, 1)
    return [slice(start, start + step) for start in range(0, max(count, 1), step)]
