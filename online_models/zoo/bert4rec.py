"""BERT4Rec: a bidirectional transformer that fills gaps in histories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.encoders.item_table import item_table
from online_models.encoders.transformer import TransformerBlock
from online_models.learner import Graph, TorchLearner, seeded
from online_models.objectives.exercise import attention, steps_back
from online_models.objectives.masked import cloze
from online_models.sequences import SequenceLoss, SequenceRanker, Sequences, sampled_softmax


class BERT4Rec(SequenceRanker):
    """Predicts hidden events from both sides; the next item is asked for by a [MASK] behind the history.

    With ``x_t = e(i_t) · √D + p(steps before the newest)``, and [MASK] in place of ``e(i_t) · √D`` where it is hidden::

        h = LN(Transformer(x))                   every place sees every other
        s_t = LN(GELU(W h_t + b))
        p(i | gaps) = softmax_i ⟨s_t, e(i)⟩      at the hidden places

    In training a share ρ of the events is hidden, and in some histories the newest alone, which is what serving asks.
    The encoder is not causal: a new event changes every state, so nothing can be cached between two events, and
    :meth:`encode` gives states that have seen the whole history. On a stream it is a teacher rather than a student.

    Parameters
    ----------
    config
        Sizes, see :class:`BERT4Rec.Config`.

    References
    ----------
    F. Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
    CIKM 2019. A. Petrov, C. Macdonald, "A Systematic Review and Replicability Study of BERT4Rec", RecSys 2022: it
    needs a far longer training than its first code gave it. What differs: blocks are pre-norm with a doubled width in
    the feed-forward part, positions count from the newest event, items have no bias, and the loss over the catalogue
    is the one that is passed (all rows as negatives give the published one).

    Examples
    --------
    >>> ranker = BERT4Rec(BERT4Rec.Config(catalog_rows=32))
    >>> sorted(ranker.graphs())
    ['encode']
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes and the cloze: ``mask_share`` is ρ, ``newest_share`` of the histories hide their newest event alone."""

        catalog_rows: int
        dimension: int = 64
        layers: int = 2
        heads: int = 2
        history: int = 50
        dropout: float = 0.2
        mask_share: float = 0.3
        newest_share: float = 0.1

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.items = item_table(config.catalog_rows, config.dimension)
        self.core = _Core(config)

    @classmethod
    def make_for_checks(cls) -> TorchLearner:
        """Build a small one for the laws."""
        from online_models.checks import SIZES

        with seeded(7):
            return TorchLearner(cls(cls.Config(catalog_rows=SIZES.rows, dimension=16, history=10)))

    def encode(self, sequences: Sequences) -> Tensor:
        """States of the events, each of which has seen the whole history: not causal. [B, T, D]."""
        return self._states(sequences, torch.zeros_like(sequences.mask))

    def newest_state(self, sequences: Sequences) -> Tensor:
        """State of a [MASK] behind the newest event. [B, D]."""
        states: Tensor = self.core.ask(self.items(sequences.items), sequences.mask)
        return states

    def sequence_loss(
        self, sequences: Sequences, negatives: Tensor, log_q: Tensor, loss: SequenceLoss = sampled_softmax
    ) -> Tensor:
        """Cloze: hide some of the events that have a target weight and predict them; scalar."""
        hidden = cloze(sequences.target_weights, self.config.mask_share, self.config.newest_share)  # [B, T]
        states = self._states(sequences, hidden)  # [B, T, D]
        return self.loss_at(states, sequences.items * hidden, sequences.target_weights, negatives, log_q, loss)

    def graphs(self) -> dict[str, Graph]:
        """``encode`` gives the user vector for retrieval; item vectors stay outside."""
        shape = (2, self.config.history)
        inputs = {"history_vectors": torch.zeros(*shape, self.config.dimension), "history_mask": torch.ones(shape)}
        return {
            "encode": Graph(
                module=_Encode(self.core),
                inputs=inputs,
                outputs=("user_vector",),
                dynamic={name: {0: "B"} for name in inputs},
                tables={"item_vectors": self.items.weight},
            )
        }

    def _states(self, sequences: Sequences, hidden: Tensor) -> Tensor:
        states: Tensor = self.core(self.items(sequences.items), sequences.mask, hidden)
        return states


class _Core(nn.Module):
    """Everything but the item table."""

    def __init__(self, config: BERT4Rec.Config) -> None:
        super().__init__()
        d = config.dimension
        self.mask_token = nn.Parameter(torch.randn(d) * 0.02 * d**0.5)
        self.positions = nn.Embedding(config.history + 1, d)
        nn.init.normal_(self.positions.weight, std=0.02 * d**0.5)  # level with the scaled items
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(d, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d))

    def forward(self, vectors: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """States of all places; ``vectors`` [B, T, D], ``mask`` and ``hidden`` [B, T] -> [B, T, D]."""
        return self._run(vectors, mask, hidden, queries=0)

    def ask(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """State of a hidden place behind the history. [B, D]."""
        longer = F.pad(vectors, (0, 0, 0, 1))  # [B, T + 1, D]
        hidden = F.pad(torch.zeros_like(mask), (0, 1), value=True)  # [B, T + 1]
        return self._run(longer, F.pad(mask, (0, 1), value=True), hidden, queries=1)[:, -1]

    def _run(self, vectors: Tensor, mask: Tensor, hidden: Tensor, queries: int) -> Tensor:
        """Compute the last block for the last ``queries`` places alone (0: all)."""
        tokens = torch.where(hidden[..., None], self.mask_token, vectors * vectors.shape[-1] ** 0.5)  # [B, T, D]
        # what is older than the window shares its oldest place
        places = steps_back(tokens.shape[1], tokens.device).clamp(max=self.positions.num_embeddings - 1)
        tokens = self.dropout(tokens + self.positions(places))
        allowed = attention(mask)
        for place, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, allowed, queries=queries if place == len(self.blocks) else 0)
        states: Tensor = self.head(self.norm(tokens))  # [B, Q, D]
        return states


class _Encode(nn.Module):
    """The served computation."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(self, history_vectors: Tensor, history_mask: Tensor) -> Tensor:
        """User vector [B, D]."""
        return self.core.ask(history_vectors, history_mask > 0)
