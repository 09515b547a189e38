"""IntentRec: what the user is about to do is predicted first, and feeds the encoder that predicts the item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from online_models.batch import PADDING, Batch
from online_models.encoders.clock import CLOCK, clock_of
from online_models.encoders.intent_heads import Head, Taken, all_heads
from online_models.encoders.intent_hierarchy import Block, Feed, IntentHierarchy, NewestIntents, Sizes
from online_models.encoders.intents import IntentVector
from online_models.encoders.item_table import item_table
from online_models.encoders.transformer import TransformerBlock
from online_models.encoders.windows import SECONDS_A_WEEK
from online_models.learner import Graph
from online_models.losses import softmax_cross_entropy
from online_models.optim import Grouped, LazyAdam
from online_models.sequences import SequenceLoss, SequenceRanker, Sequences, sampled_softmax


class IntentRec(SequenceRanker):
    """Hierarchical multi-task transformer: short-term interest and intents are inputs of the item encoder.

    With ``F_k = e(item) + FC[categories; action; numbers]`` of event k::

        S_k = Encoder_short(F_i : i ≤ k, T_k - T_i ≤ H)          short-term interest, bounded by time
        E_k = Encoder_intent(F + FC[S] + clock)                  clock: time of day and week, gaps
        p_i = head_i(E_k)                                        action, categories, age of the item, familiarity
        Z_k = Σ_i a_i Proj_i(p_i)                                intent vector
        U_k = Encoder_item(F + FC[S; Z] + clock + place)         score(j) = ⟨U_k, e_j⟩

    ``L = L_item + λ Σ_i L_i``; both are weighed by the targets' weights, such as
    :func:`~online_models.augmentation.duration_weights`.

    The ablation of the paper is composed, not switched: ``heads=()`` is the single task, ``feed=None`` puts the heads
    on the item encoder (plain multi-task), ``short_term=None`` leaves S out.

    Parameters
    ----------
    config
        Sizes, see :class:`IntentRec.Config`.
    heads
        Intents; None for :func:`all_heads`.
    feed
        Makes the module that turns the intents' probabilities into Z; None: the intents feed nothing.
    short_term
        Makes the encoder of the window; None: no short-term interest.

    References
    ----------
    IntentRec / FM-Intent (Netflix, 2408.05353v2). What differs: one layer an encoder, so that the window bounds what is
    seen in all; the loss over items is a sampled softmax with the table tied to the inputs; the categories' binary
    cross-entropy runs over all categories of events that were taken (over the right ones alone it is solved by "all");
    movie or show is not known of public logs, familiarity stands in; a place from the newest event stands beside the
    clock, because public logs have bursts of equal times.

    Examples
    --------
    >>> ranker = IntentRec(IntentRec.Config(catalog_rows=32))
    >>> [head.name for head in ranker.heads]
    ['action', 'categories', 'age', 'familiarity']
    >>> IntentRec(IntentRec.Config(catalog_rows=32), heads=()).core.intent_encoder is None
    True
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes. ``features``, ``sources`` and ``item_features`` of the batches are not read."""

        catalog_rows: int
        features: int = 0
        sources: int = 0
        item_features: int = 0
        categories: int = 64
        dimension: int = 64
        heads: int = 2
        history: int = 50
        window_seconds: float = SECONDS_A_WEEK
        dropout: float = 0.2
        intent_weight: float = 0.1

    def __init__(
        self,
        config: Config,
        heads: Sequence[Head] | None = None,
        feed: Feed | None = IntentVector,
        short_term: Block | None = TransformerBlock,
    ) -> None:
        super().__init__()
        self.config = config
        self.heads = tuple(all_heads(config.categories) if heads is None else heads)
        self.items = item_table(config.catalog_rows, config.dimension)
        sizes = Sizes(**{field.name: getattr(config, field.name) for field in fields(Sizes)})
        self.core = IntentHierarchy(sizes, self.heads, feed, short_term)
        self.item_categories: Tensor
        self.register_buffer("item_categories", torch.zeros(config.catalog_rows, config.categories))  # [R, C]
        self.item_published_seconds: Tensor  # [R] -inf where unknown
        self.register_buffer(
            "item_published_seconds", torch.full((config.catalog_rows,), -torch.inf, dtype=torch.float64)
        )

    def optimizer(self, rate: float = 1e-3, item_rate: float = 1e-2) -> Grouped:
        """Adam, faster on the item table: on a stream each of its rows is touched seldom, the rest at every step."""
        rest = [parameter for parameter in self.parameters() if parameter is not self.items.weight]
        return Grouped(LazyAdam([self.items.weight], lr=item_rate), LazyAdam(rest, lr=rate))

    def item_tables(self) -> list[Tensor]:
        """Vectors, categories and dates of the catalogue's rows."""
        return [self.items.weight, self.item_categories, self.item_published_seconds]

    def encode(self, sequences: Sequences) -> Tensor:
        """User state after each event. [B, T, D]."""
        states: Tensor = self.core(**self._inputs(sequences))[0]
        return states

    def describe(self, rows: Tensor, categories: Tensor, published_seconds: Tensor) -> None:
        """Take over what is known of items [K]: multi-hot categories [K, C], publication [K] (-inf where unknown)."""
        self.item_categories[rows] = categories
        self.item_published_seconds[rows] = published_seconds

    def intents(self, sequences: Sequences) -> dict[str, Tensor]:
        """Probabilities of every intent after each event, by name. Each [B, T, C_i]."""
        logits = self.core(**self._inputs(sequences))[1:]
        return {head.name: head.probabilities(given) for head, given in zip(self.heads, logits, strict=True)}

    def sequence_loss(
        self, sequences: Sequences, negatives: Tensor, log_q: Tensor, loss: SequenceLoss = sampled_softmax
    ) -> Tensor:
        """Next-item loss plus λ times the intents' over every position that has a target; scalar."""
        before = sequences.without_newest()
        states, *logits = self.core(**self._inputs(before))  # [B, T - 1, D], each [B, T - 1, C_i]
        targets, weights = sequences.items[:, 1:], sequences.target_weights[:, 1:]  # [B, T - 1]
        places = (weights > 0) & (targets != PADDING)
        taken = self._taken(before, sequences, places)
        intents = self._intent_loss([given[places] for given in logits], taken, weights[places])
        return self.loss_at(states, targets, weights, negatives, log_q, loss) + intents

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Listwise loss of the candidates plus λ times the intents'; (scalar, logits [B, N])."""
        sequences = Sequences.of_context(batch.context)
        states, *logits = self.core(**self._inputs(sequences))
        vectors = self.embed_items(batch.candidates.items, batch.candidates.features)  # [B, N, D]
        scores = torch.einsum("bd,bnd->bn", states[:, -1], vectors)
        mask = batch.candidates.mask
        items = softmax_cross_entropy(scores, batch.labels, mask, log_q=batch.log_q, weights=batch.weights)
        chosen = batch.candidates.items.gather(1, batch.labels.argmax(1, keepdim=True)).squeeze(1)  # [B]
        history = batch.context.history_items
        taken = self._described(
            chosen,
            batch.actions,
            batch.context.time_seconds,
            history[:, -1],
            (history == chosen[:, None]).any(1),
        )
        weights = batch.weights * (batch.labels.sum(1) > 0)  # [B]
        return items + self._intent_loss([given[:, -1] for given in logits], taken, weights), scores

    def _intent_loss(self, logits: list[Tensor], taken: Taken, weights: Tensor) -> Tensor:
        """``λ Σ_i`` of the weighted mean of each intent's losses; logits [P, C_i], weights [P]."""
        total = weights.new_zeros(())
        for head, given in zip(self.heads, logits, strict=True):
            losses = head.losses(given, head.labels(taken))  # [P]
            total = total + (losses * weights).sum() / weights.sum().clamp(min=1e-12)
        return self.config.intent_weight * total

    def _taken(self, before: Sequences, sequences: Sequences, places: Tensor) -> Taken:
        """Describe the targets at ``places`` [B, T - 1] -> P of them."""
        targets = sequences.items[:, 1:]
        equal = targets.unsqueeze(2) == before.items.unsqueeze(1)  # [B, T - 1, T - 1]
        again = (equal & torch.ones_like(equal[0]).tril()).any(-1)
        times = sequences.times_seconds[:, 1:]
        chosen = (targets, sequences.actions[:, 1:], times, before.items, again)
        return self._described(*(value[places] for value in chosen))

    def _described(self, items: Tensor, actions: Tensor, times: Tensor, previous: Tensor, again: Tensor) -> Taken:
        return Taken(
            actions=actions,
            categories=self.item_categories[items],
            previous_categories=self.item_categories[previous],
            ages_seconds=times - self.item_published_seconds[items],
            again=again,
        )

    def _inputs(self, sequences: Sequences) -> dict[str, Tensor]:
        """Gather the tables: the inputs of the core and of the served graph."""
        mask = sequences.mask
        ages = (sequences.asked_seconds[:, None] - sequences.times_seconds) * mask  # [B, T]
        return {
            "history_vectors": self.items(sequences.items),  # [B, T, D]
            "history_categories": self.item_categories[sequences.items],  # [B, T, C]
            "history_actions": sequences.actions,
            "history_ages_seconds": ages.float(),
            "history_clock": clock_of(sequences, self.item_published_seconds[sequences.items]),  # [B, T, CLOCK]
            "history_mask": mask.float(),
        }

    def graphs(self) -> dict[str, Graph]:
        """``encode`` gives the user vector and the intents after the newest event; item vectors stay outside."""
        batch, c = 2, self.config
        whole = torch.ones(batch, c.history)
        inputs = {
            "history_vectors": torch.zeros(batch, c.history, c.dimension),
            "history_categories": torch.zeros(batch, c.history, c.categories),
            "history_actions": torch.zeros(batch, c.history, dtype=torch.int64),
            "history_ages_seconds": torch.zeros(batch, c.history),
            "history_clock": torch.zeros(batch, c.history, CLOCK),
            "history_mask": whole,
        }
        return {
            "encode": Graph(
                module=NewestIntents(self.core),
                inputs=inputs,
                outputs=("user_vector", *(f"intent_{head.name}" for head in self.heads)),
                dynamic={name: {0: "B"} for name in inputs},
                tables={"item_vectors": self.items.weight},
            )
        }
