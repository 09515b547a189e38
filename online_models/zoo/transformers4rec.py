"""Transformers4Rec: side information merged into every event, and a training objective that is passed in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.encoders.item_table import item_table
from online_models.encoders.merge import Concatenated, Merge
from online_models.encoders.transformer import TransformerBlock
from online_models.learner import Graph, TorchLearner, seeded
from online_models.objectives.causal import Causal
from online_models.objectives.exercise import Exercise, Objective
from online_models.sequences import SequenceLoss, SequenceRanker, Sequences, sampled_softmax
from online_models.vocabulary import ACTIONS


class Transformers4Rec(SequenceRanker):
    """A transformer over merged events, trained by any objective of :mod:`online_models.objectives`.

    With ``c`` an item's categories, ``a`` the action and ``g`` the seconds since the event before::

        x_t  = merge(√D e(i_t); C c(i_t); A a_t; T log(1 + g_t)) + p(steps before the newest)
        s    = LN(Transformer(x))
        s(i) = ⟨s, e(i)⟩                      tied item vectors

    Where the objective hides an event, one learnt vector takes the place of all of its parts. The objective also says
    who sees whom, what is predicted where, and how the next item is asked for in serving, so every objective meets the
    same encoder. Where it replaces items, a linear head tells replaced from real.

    Parameters
    ----------
    config
        Sizes, see :class:`Transformers4Rec.Config`.
    objective
        Such as :class:`~online_models.objectives.masked.Masked`.
    merge
        :class:`~online_models.encoders.merge.Concatenated` or :class:`~online_models.encoders.merge.Summed`.

    References
    ----------
    G. de Souza Pereira Moreira, S. Rabhi, J. M. Lee, R. Ak, E. Oldridge, "Transformers4Rec: Bridging the Gap between
    NLP and Sequential / Session-Based Recommendation", RecSys 2021. What differs: one encoder with absolute places for
    all objectives (there GPT-2, XLNet and ELECTRA), sums in place of the element-wise product.

    Examples
    --------
    >>> from online_models.encoders.merge import Summed
    >>> from online_models.objectives.masked import Masked
    >>> ranker = Transformers4Rec(Transformers4Rec.Config(catalog_rows=32), Masked(), Summed)
    >>> ranker.set_categories(5, [1, 2])
    >>> sorted(ranker.graphs())
    ['encode']
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes; ``side_dimension`` is that of each part beside the item."""

        catalog_rows: int
        category_buckets: int = 64
        dimension: int = 64
        side_dimension: int = 16
        layers: int = 2
        heads: int = 2
        history: int = 50
        dropout: float = 0.2

    def __init__(self, config: Config, objective: Objective | None = None, merge: Merge = Concatenated) -> None:
        super().__init__()
        self.config = config
        self.objective = objective or Causal()
        self.items = item_table(config.catalog_rows, config.dimension)
        self.item_categories: Tensor
        self.register_buffer("item_categories", torch.zeros(config.catalog_rows, config.category_buckets))  # [R, C]
        self.core = _Core(config, merge)

    @classmethod
    def make_for_checks(cls) -> TorchLearner:
        """Build a small one for the laws."""
        from online_models.checks import SIZES

        with seeded(7):
            ranker = cls(cls.Config(catalog_rows=SIZES.rows, dimension=16, history=10))
        for row in range(2, SIZES.rows):
            ranker.set_categories(row, [row % 5])
        return TorchLearner(ranker)

    def set_categories(self, row: int, buckets: list[int]) -> None:
        """Say which category buckets an item belongs to."""
        self.item_categories[row] = 0
        self.item_categories[row, buckets] = 1

    def item_tables(self) -> list[Tensor]:
        """Vectors and categories of the catalogue's rows."""
        return [self.items.weight, self.item_categories]

    def encode(self, sequences: Sequences) -> Tensor:
        """States of the events as the objective's question sees them: causal only if the objective is. [B, T, D]."""
        return self._states(self.objective.question(sequences))[:, : sequences.items.shape[1]]

    def newest_state(self, sequences: Sequences) -> Tensor:
        """State from which the next item is predicted. [B, D]."""
        return self._states(self.objective.question(sequences), queries=1)[:, -1]

    def sequence_loss(
        self, sequences: Sequences, negatives: Tensor, log_q: Tensor, loss: SequenceLoss = sampled_softmax
    ) -> Tensor:
        """Sum over the objective's exercises of predicting targets and of telling replaced items; scalar."""

        def guess(exercise: Exercise) -> Tensor:
            return self._guess(exercise, negatives, log_q)

        total = negatives.new_zeros((), dtype=torch.float32)
        for exercise in self.objective.exercises(sequences, guess):
            states = self._states(exercise)  # [B, S, D]
            if bool((exercise.weights > 0).any()):
                total = total + self.loss_at(states, exercise.targets, exercise.weights, negatives, log_q, loss)
            if bool((exercise.judged_weights > 0).any()):
                total = total + self._detection(states, exercise)
        return total

    def graphs(self) -> dict[str, Graph]:
        """``encode`` gives the user vector for retrieval; tables by catalogue row stay outside."""
        c, batch = self.config, 2
        inputs = {
            "history_vectors": torch.zeros(batch, c.history, c.dimension),
            "history_categories": torch.zeros(batch, c.history, c.category_buckets),
            "history_actions": torch.zeros(batch, c.history, dtype=torch.int64),
            "history_ages_seconds": torch.zeros(batch, c.history),
            "history_mask": torch.ones(batch, c.history),
        }
        return {
            "encode": Graph(
                module=_Encode(self.core, self.objective),
                inputs=inputs,
                outputs=("user_vector",),
                dynamic={name: {0: "B"} for name in inputs},
                tables={"item_vectors": self.items.weight, "item_categories": self.item_categories},
            )
        }

    def _states(self, exercise: Exercise, queries: int = 0) -> Tensor:
        states: Tensor = self.core(self.items(exercise.items), self.item_categories[exercise.items], exercise, queries)
        return states

    @torch.no_grad()
    def _guess(self, exercise: Exercise, negatives: Tensor, log_q: Tensor) -> Tensor:
        """Draw items at the hidden places from the encoder's own softmax over the negatives. [B, S]."""
        hidden = exercise.hidden
        logits = self._states(exercise)[hidden] @ self.item_vectors(negatives).T - log_q  # [P, K]
        guessed = exercise.items.clone()
        if len(logits):
            guessed[hidden] = negatives[torch.multinomial(logits.softmax(1), 1).squeeze(1)]
        return guessed

    def _detection(self, states: Tensor, exercise: Exercise) -> Tensor:
        weights = exercise.judged_weights  # [B, S]
        logits = self.core.detector(states).squeeze(-1)  # [B, S]
        losses = F.binary_cross_entropy_with_logits(logits, exercise.replaced.float(), reduction="none")
        return (losses * weights).sum() / (weights > 0).sum()


class _Core(nn.Module):
    """Everything but what is kept by catalogue row."""

    def __init__(self, config: Transformers4Rec.Config, merge: Merge) -> None:
        super().__init__()
        d, side = config.dimension, config.side_dimension
        self.categories = nn.Linear(config.category_buckets, side, bias=False)
        self.actions = nn.Embedding(len(ACTIONS) + 1, side)
        self.gaps = nn.Linear(1, side)
        self.merge = merge([d, side, side, side], d)
        self.mask_token = nn.Parameter(torch.randn(d) * 0.02 * d**0.5)
        self.positions = nn.Embedding(config.history + 1, d)
        nn.init.normal_(self.positions.weight, std=0.02 * d**0.5)  # level with the scaled items
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(d, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.detector = nn.Linear(d, 1)

    def forward(self, vectors: Tensor, categories: Tensor, exercise: Exercise, queries: int = 0) -> Tensor:
        """States of the last ``queries`` tokens (0: all), of item vectors [B, S, D] and categories [B, S, C]."""
        merged = self.merge(
            [
                vectors * vectors.shape[-1] ** 0.5,
                self.categories(categories / categories.sum(-1, keepdim=True).clamp(min=1)),
                self.actions(exercise.actions),
                self.gaps(exercise.gaps_seconds.log1p()[..., None] / 10),
            ]
        )  # [B, S, D]
        tokens = torch.where(exercise.hidden[..., None], self.mask_token, merged)
        # what is older than the window shares its oldest place
        places = self.positions(exercise.steps_back.clamp(max=self.positions.num_embeddings - 1))  # [S, D]
        tokens = self.dropout(tokens + places)
        for place, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, exercise.allowed, queries=queries if place == len(self.blocks) else 0)
        states: Tensor = self.norm(tokens)  # [B, Q, D]
        return states


class _Encode(nn.Module):
    """The served computation: the objective's question about a history whose rows have been gathered outside."""

    def __init__(self, core: _Core, objective: Objective) -> None:
        super().__init__()
        self.core, self.objective = core, objective

    def forward(
        self,
        history_vectors: Tensor,
        history_categories: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
    ) -> Tensor:
        """User vector [B, D]."""
        question = self.objective.question(
            Sequences(
                items=(history_mask > 0).long(),  # only where there is an event is read
                actions=history_actions,
                times_seconds=-history_ages_seconds,
                target_weights=torch.zeros_like(history_mask),
                users=history_actions[:, 0],
                asked_seconds=history_mask[:, 0] * 0,
            )
        )
        added = question.items.shape[1] - history_mask.shape[1]  # hidden places behind the history
        vectors, categories = (F.pad(part, (0, 0, 0, added)) for part in (history_vectors, history_categories))
        states: Tensor = self.core(vectors, categories, question, queries=1)
        return states[:, -1]
