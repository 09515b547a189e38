"""HSTU for retrieval: which item comes next, from gated pointwise attention over a history and its times."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.encoders.hstu import HSTUEncoder
from online_models.encoders.item_table import item_table
from online_models.learner import Graph
from online_models.sequences import SequenceRanker, Sequences
from online_models.vocabulary import ACTIONS


class HSTU(SequenceRanker):
    """Generative recommender's retrieval model: ``⟨u_t / |u_t|, e_i / |e_i|⟩ / τ`` with u_t from HSTU layers.

    Tokens are ``√D e_item + a_action + p_order``; the layers see how many events and how much time lie between a key
    and the moment for which the query predicts. Training is generative: one pass over a history supervises every event
    in it once (:meth:`~online_models.sequences.SequenceRanker.sequence_loss`), cut by
    :mod:`online_models.stochastic_length` where histories are long.

    Parameters
    ----------
    config
        Sizes, see :class:`HSTU.Config`.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations", ICML 2024 (2402.17152). What differs: an item and its action are one token, not two, and negatives
    are shared by a batch.

    Examples
    --------
    >>> from online_models.checks import SIZES, example_batch
    >>> ranker, batch = HSTU(HSTU.Config(catalog_rows=SIZES.rows)), example_batch(seed=1)
    >>> ranker(batch.context, batch.candidates).shape
    torch.Size([8, 12])
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes. The history alone is read: ``features``, ``sources`` and ``item_features`` may be anything."""

        catalog_rows: int
        features: int = 0
        sources: int = 0
        item_features: int = 0
        dimension: int = 64
        layers: int = 2
        heads: int = 2
        history: int = 50
        dropout: float = 0.2
        temperature: float = 0.05
        sparse: bool = True  # gradients of the touched rows alone, for an optimiser that moves only these

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.items = item_table(config.catalog_rows, config.dimension, sparse=config.sparse)
        self.core = _Core(config)

    def encode(self, sequences: Sequences) -> Tensor:
        """User state after each event, a unit vector over τ. [B, T, D]."""
        ages = (sequences.asked_seconds[:, None] - sequences.times_seconds) * sequences.mask  # [B, T]
        states: Tensor = self.core(self.items(sequences.items), sequences.actions, ages, sequences.mask.float())
        return states

    def item_vectors(self, rows: Tensor) -> Tensor:
        """Item vectors of unit length. [..., D]."""
        return _unit(self.items(rows))

    def graphs(self) -> dict[str, Graph]:
        """``rank`` scores candidates, ``encode`` gives the user vector; item vectors stay outside."""
        c, batch = self.config, 2
        inputs = {
            "history_vectors": torch.ones(batch, c.history, c.dimension),
            "history_actions": torch.ones(batch, c.history, dtype=torch.int64),
            "history_ages_seconds": torch.zeros(batch, c.history),
            "history_mask": torch.ones(batch, c.history),
        }
        dynamic = {name: {0: "B"} for name in inputs}
        tables = {"item_vectors": self.items.weight}
        encode = Graph(module=_Encode(self.core), inputs=inputs, outputs=("user_vector",), dynamic=dynamic)
        ranked = {**inputs, "candidate_vectors": torch.ones(batch, 3, c.dimension)}
        axes = {**dynamic, "candidate_vectors": {0: "B", 1: "N"}}
        rank = Graph(module=_Rank(self.core), inputs=ranked, outputs=("logits",), dynamic=axes, tables=tables)
        return {"rank": rank, "encode": encode}


class _Core(nn.Module):
    """Everything but the item table."""

    def __init__(self, config: HSTU.Config) -> None:
        super().__init__()
        c = config
        self.temperature = c.temperature
        self.actions = nn.Embedding(len(ACTIONS) + 1, c.dimension)
        self.order = nn.Embedding(c.history, c.dimension)
        nn.init.normal_(self.actions.weight, std=0.02)
        nn.init.normal_(self.order.weight, std=0.02)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = HSTUEncoder(c.dimension, c.heads, c.layers, c.history, c.dropout)

    def forward(
        self, history_vectors: Tensor, history_actions: Tensor, history_ages_seconds: Tensor, history_mask: Tensor
    ) -> Tensor:
        """User states [B, T, D]."""
        mask = history_mask
        # counted from the oldest event: padding in front and events that come later change nothing
        order = (mask.cumsum(1).long() - 1).clamp(0, self.order.num_embeddings - 1)  # [B, T]
        scale = history_vectors.shape[-1] ** 0.5
        tokens = history_vectors * scale + self.actions(history_actions) + self.order(order)  # [B, T, D]
        tokens = self.dropout(tokens) * mask.unsqueeze(-1)
        asked = F.pad(history_ages_seconds[:, 1:], (0, 1))  # [B, T] what follows an event is asked for at its time
        states = self.encoder(tokens, mask, key_ages=history_ages_seconds, query_ages=asked)[0]
        return _unit(states) / self.temperature


class _Encode(nn.Module):
    """The user vector alone."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(
        self, history_vectors: Tensor, history_actions: Tensor, history_ages_seconds: Tensor, history_mask: Tensor
    ) -> Tensor:
        """User vector [B, D]."""
        states: Tensor = self.core(history_vectors, history_actions, history_ages_seconds, history_mask)
        return states[:, -1]


class _Rank(nn.Module):
    """Scores of candidates."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        candidate_vectors: Tensor,
    ) -> Tensor:
        """Logits [B, N]."""
        states = self.core(history_vectors, history_actions, history_ages_seconds, history_mask)
        return torch.einsum("bd,bnd->bn", states[:, -1], _unit(candidate_vectors))


def _unit(vectors: Tensor) -> Tensor:
    # a larger eps than the default keeps the gradient of an all-zero padding row small
    return F.normalize(vectors, dim=-1, eps=1e-6)
