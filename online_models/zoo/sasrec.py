"""SASRec: a causal transformer over the items of a history."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.batch import PADDING
from online_models.encoders.item_table import item_table
from online_models.encoders.transformer import TransformerBlock
from online_models.encoders.windows import causal
from online_models.learner import Graph
from online_models.sequences import SequenceRanker, Sequences


class SASRec(SequenceRanker):
    """Scores an item by its inner product with the state of a causal transformer after the newest event.

    With events ``i_1 … i_n`` and their places counted from the newest, which has place 0::

        x_k = √D · e(i_k) + p(n - k)
        h   = LN(Block_M(… Block_1(x)))       causal
        s_j = ⟨h_n, e(j)⟩

    Trained at all positions at once by :meth:`~online_models.sequences.SequenceRanker.sequence_loss`. The loss function
    that is passed there makes the published baselines: ``binary_cross_entropy`` with a negative for each position [1]_,
    ``gbce`` with many shared ones [2]_, ``sampled_softmax`` [3]_, which is far ahead of the first.

    Parameters
    ----------
    config
        Sizes, see :class:`SASRec.Config`.

    References
    ----------
    .. [1] W. Kang, J. McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. What differs: keys and values are
       normalised as the queries are (pre-norm), GELU and twice the width in the feed-forward part, places counted from
       the newest event, so that no padding is encoded, no dropout on attention weights.
    .. [2] A. Petrov, C. Macdonald, "gSASRec", RecSys 2023.
    .. [3] A. Klenitskiy, A. Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", RecSys
       2023.

    Examples
    --------
    >>> from online_models.checks import example_batch
    >>> ranker = SASRec(SASRec.Config(catalog_rows=64, dimension=8))
    >>> ranker.embed_context(example_batch(examples=3).context).shape
    torch.Size([3, 8])
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes. ``features``, ``sources`` and ``item_features`` are F, S and G of the batches; none is read."""

        catalog_rows: int
        features: int = 0
        sources: int = 0
        item_features: int = 0
        dimension: int = 64
        layers: int = 2
        heads: int = 2
        history: int = 50
        dropout: float = 0.2
        initial_deviation: float = 0.02
        sparse: bool = True  # gradients of the touched rows alone, for an optimiser that moves only these

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.items = item_table(
            config.catalog_rows, config.dimension, deviation=config.initial_deviation, sparse=config.sparse
        )
        self.core = _Core(config)

    def encode(self, sequences: Sequences) -> Tensor:
        """User state after each event. [B, T, D]."""
        states: Tensor = self.core.states(self.items(sequences.items), sequences.mask)
        return states

    def newest_state(self, sequences: Sequences) -> Tensor:
        """User state after the newest event; the last block works for that event alone. [B, D]."""
        items = sequences.items[:, -self.config.history :]  # [B, L]
        return self.core.states(self.items(items), items != PADDING, queries=1).squeeze(1)

    def graphs(self) -> dict[str, Graph]:
        """``encode`` gives the user vector; item vectors stay outside and score by inner product."""
        length, dimension = self.config.history, self.config.dimension
        return {
            "encode": Graph(
                module=self.core,
                inputs={"history_vectors": torch.zeros(2, length, dimension), "history_mask": torch.ones(2, length)},
                outputs=("user_vector",),
                dynamic={"history_vectors": {0: "B"}, "history_mask": {0: "B"}},
                tables={"item_vectors": self.items.weight},
            )
        }


class _Core(nn.Module):
    """The part that is exported: everything but the item table."""

    def __init__(self, config: SASRec.Config) -> None:
        super().__init__()
        self.scale = config.dimension**0.5
        self.places = nn.Embedding(config.history, config.dimension)
        nn.init.normal_(self.places.weight, std=config.initial_deviation)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.dimension, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dimension)

    def forward(self, history_vectors: Tensor, history_mask: Tensor) -> Tensor:
        """User state after the newest event. [B, D]."""
        return self._encode(history_vectors, causal(history_mask), queries=1).squeeze(1)

    def states(self, vectors: Tensor, real: Tensor, queries: int = 0) -> Tensor:
        """User states after the last ``queries`` events (0: all), from vectors [B, T, D] and mask [B, T]. [B, Q, D]."""
        return self._encode(vectors, None if bool(real.all()) else causal(real), queries)

    def _encode(self, vectors: Tensor, allowed: Tensor | None, queries: int) -> Tensor:
        length = vectors.shape[1]
        back = torch.arange(length - 1, -1, -1, device=vectors.device)  # [T] the newest event has place 0
        places = self.places(back.clamp(max=self.places.num_embeddings - 1))  # [T, D]
        tokens = self.dropout(vectors * self.scale + places)  # [B, T, D]
        *before, last = self.blocks
        for block in before:
            tokens = block(tokens, allowed)
        states: Tensor = self.norm(last(tokens, allowed, queries=queries))  # [B, Q, D]
        return states
