"""In-session ranker: intents first, then items, with the counting sources beside the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from online_models.batch import Batch
from online_models.encoders.intents import Intent, age_labels, category_overlap, familiarity_labels
from online_models.encoders.length_groups import history_lengths, length_groups
from online_models.encoders.session_core import SessionCore, SessionSizes
from online_models.served import ServedRanker, ServedSizes
from online_models.vocabulary import ACTIONS, AGE_EDGES_DAYS, CATEGORY_BUCKETS, FAMILIARITIES

INTENTS = (
    Intent(name="actions", classes=len(ACTIONS) + 1),
    Intent(name="categories", classes=CATEGORY_BUCKETS),
    Intent(name="ages", classes=len(AGE_EDGES_DAYS) + 1),
    Intent(name="familiarity", classes=len(FAMILIARITIES)),
)


class InSessionRanker(ServedRanker):
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
    ['encode', 'rank', 'score']
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ServedSizes, SessionSizes):
        """Sizes. ``features``, ``sources`` and ``item_features`` are F, S and G of the batches."""

        intent_weight: float = 0.1

    def __init__(self, config: Config) -> None:
        super().__init__(config, lambda: SessionCore(config, INTENTS))
        self.config = config
        self.item_categories: Tensor
        self.register_buffer("item_categories", torch.zeros(config.catalog_rows, CATEGORY_BUCKETS))  # [R, C]
        self.item_published_seconds: Tensor  # [R] -inf where unknown
        unknown = torch.full((config.catalog_rows,), -torch.inf, dtype=torch.float64)
        self.register_buffer("item_published_seconds", unknown)

    def set_categories(self, row: int, buckets: list[int]) -> None:
        """Tell the intent head which category buckets an item belongs to (labels only; nothing is scored by it)."""
        self.item_categories[row] = 0
        self.item_categories[row, buckets] = 1

    def has_categories(self, row: int) -> bool:
        """Whether the item's category buckets are known."""
        return bool(self.item_categories[row].any())

    def set_published(self, row: int, seconds: float | None) -> None:
        """Tell the intent head when an item came out, in seconds since 1970 (a label only); None: not known."""
        self.item_published_seconds[row] = -torch.inf if seconds is None else seconds

    def item_tables(self) -> list[Tensor]:
        """Vectors and labels of the catalogue's rows."""
        return [self.items.weight, self.item_categories, self.item_published_seconds]

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Listwise loss, retrieval loss and intents' losses; returns (scalar, logits [B, N])."""
        total, logits, intents = self._losses(batch)
        return total + self._intents(batch, intents), logits

    def _groups(self, history_items: Tensor) -> list[tuple[NDArray[np.int64], int]]:
        """Put short histories apart from long ones: padding teaches nothing and costs as much."""
        return length_groups(history_lengths(history_items.cpu().numpy()))

    def outputs(self) -> tuple[str, ...]:
        """Logits, weights, and the probabilities of every intent."""
        return (*super().outputs(), *(f"intent_{intent.name}" for intent in INTENTS))

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
