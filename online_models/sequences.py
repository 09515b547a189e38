"""Training on whole histories: every event is an example, so a history is encoded once for all of them.

Notation as in :mod:`online_models.batch`; T is the length of a sequence, K the number of shared negatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.batch import PADDING, Context
from online_models.ranker import Retriever


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequences:
    """Histories of B users, right-aligned: the newest event sits in column T - 1, padding in front."""

    items: Tensor  # [B, T] int64 catalogue rows, 0 where padded
    actions: Tensor  # [B, T] int64
    times_seconds: Tensor  # [B, T] float64, 0 where padded
    # [B, T] float32: how much the event counts as a target; 0 where padded, first of its history, or learnt before
    target_weights: Tensor
    users: Tensor  # [B] int64
    asked_seconds: Tensor  # [B] float64: when the list after the newest event is asked for

    @property
    def next_times_seconds(self) -> Tensor:
        """When what follows each event was asked for. [B, T]."""
        return torch.cat([self.times_seconds[:, 1:], self.asked_seconds[:, None]], 1)

    def without_newest(self) -> Sequences:
        """Everything before the newest event, asked for at its time: the inputs of a next-item loss. [B, T - 1]."""
        cut = {f.name: getattr(self, f.name)[:, :-1] for f in fields(self) if f.name not in ("users", "asked_seconds")}
        return Sequences(users=self.users, asked_seconds=self.times_seconds[:, -1], **cut)

    @property
    def mask(self) -> Tensor:
        """True where there is an event. [B, T]."""
        return self.items != PADDING

    @classmethod
    def of_context(cls, context: Context) -> Sequences:
        """Read the history of a context; nothing in it is a target."""
        return cls(
            items=context.history_items,
            actions=context.history_actions,
            times_seconds=(context.time_seconds[:, None] - context.history_ages_seconds)
            * (context.history_items != PADDING),
            target_weights=torch.zeros_like(context.history_ages_seconds),
            users=context.user,
            asked_seconds=context.time_seconds,
        )


# (user states [P, D], targets [P], weights [P], item vectors of targets [P, D], of negatives [K, D], negatives [K],
# their log_q [K]) -> scalar, with P the positions that have a target
SequenceLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def sampled_softmax(
    states: Tensor,
    targets: Tensor,
    weights: Tensor,
    target_vectors: Tensor,
    negative_vectors: Tensor,
    negatives: Tensor,
    log_q: Tensor,
) -> Tensor:
    """Softmax of the target among K shared negatives, logQ-corrected; a negative that is the target is left out."""
    own = (states * target_vectors).sum(-1, keepdim=True)  # [P, 1]
    others = states @ negative_vectors.T - log_q  # [P, K]
    others = others.masked_fill(negatives == targets[:, None], -torch.inf)
    losses = torch.cat([own, others], 1).logsumexp(1) - own.squeeze(1)  # [P]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def binary_cross_entropy(
    states: Tensor,
    targets: Tensor,
    weights: Tensor,
    target_vectors: Tensor,
    negative_vectors: Tensor,
    negatives: Tensor,
    log_q: Tensor,
) -> Tensor:
    """``-[log σ(s+) + log σ(-s-)]``, one negative a position: position p takes negative ``p mod K``.

    The loss of the original SASRec (Kang, McAuley, ICDM 2018); as there, ``log_q`` is not read.

    >>> one, two = torch.ones(1, 2), torch.zeros(3, 2)
    >>> binary_cross_entropy(one, torch.tensor([5]), torch.ones(1), one * 0, two, torch.tensor([6, 7, 8]), two[:, 0])
    tensor(1.3863)
    """
    places = torch.arange(len(targets), device=targets.device) % len(negatives)  # [P]
    own = (states * target_vectors).sum(-1)  # [P]
    other = (states * negative_vectors[places]).sum(-1)  # [P]
    clash = negatives[places] == targets  # [P]
    losses = -F.logsigmoid(own) - F.logsigmoid(-other).masked_fill(clash, 0)  # [P]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def gbce(
    states: Tensor,
    targets: Tensor,
    weights: Tensor,
    target_vectors: Tensor,
    negative_vectors: Tensor,
    negatives: Tensor,
    log_q: Tensor,
    *,
    items: int,
    calibration: float = 0.75,
) -> Tensor:
    """Generalised binary cross-entropy over K shared negatives: ``-[β log σ(s+) + Σ log σ(-s-)]``.

    ``β = α (t (1 - 1/α) + 1/α)`` with ``α = K / (items - 1)`` and t the ``calibration`` (A. Petrov, C. Macdonald,
    "gSASRec", RecSys 2023): t = 0 is the plain loss, t = 1 is fully calibrated. ``log_q`` is not read.

    Raises
    ------
    ValueError
        ``calibration`` is outside 0 to 1, or there are fewer than two items.
    """
    if not 0 <= calibration <= 1 or items < 2:
        raise ValueError(f"calibration is {calibration}, items {items}; give 0 to 1, and at least two items")
    share = min(len(negatives) / (items - 1), 1.0)
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    own = (states * target_vectors).sum(-1)  # [P]
    others = F.logsigmoid(-(states @ negative_vectors.T))  # [P, K]
    others = others.masked_fill(negatives == targets[:, None], 0)
    losses = -beta * F.logsigmoid(own) - others.sum(1)  # [P]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


class SequenceRanker(Retriever):
    """A retriever that encodes a whole history at once, every position from the events up to it.

    A system implements :meth:`encode`; item vectors are rows of ``self.items`` unless it overrides
    :meth:`item_vectors`, from which training, scoring and :meth:`embed_items` take them. A system with other targets
    than the next item overrides :meth:`loss_of_states`, one that trains otherwise :meth:`sequence_loss`.
    """

    items: nn.Embedding

    def encode(self, sequences: Sequences) -> Tensor:
        """User state after each event, column t from the events in columns ≤ t alone. [B, T, D]."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(sequences) -> [B, T, D]")

    def newest_state(self, sequences: Sequences) -> Tensor:
        """User state after the newest event; an encoder that is not causal asks here in its own way. [B, D]."""
        return self.encode(sequences)[:, -1]

    def embed_context(self, context: Context) -> Tensor:
        """User state after the newest event. [B, D]."""
        return self.newest_state(Sequences.of_context(context))

    def item_vectors(self, rows: Tensor) -> Tensor:
        """Vectors of catalogue rows [...], which states are multiplied with. [..., D]."""
        vectors: Tensor = self.items(rows)
        return vectors

    def catalogue_vectors(self) -> Tensor:
        """Vectors of all rows, for scoring everything. [R, D]."""
        if type(self).item_vectors is SequenceRanker.item_vectors and not torch.is_grad_enabled():
            return self.items.weight  # no copy for those who only read
        return self.item_vectors(torch.arange(self.items.num_embeddings, device=self.items.weight.device))

    def embed_items(self, items: Tensor, features: Tensor) -> Tensor:
        """Item vectors by row. [..., D]."""
        return self.item_vectors(items)

    def item_tables(self) -> list[Tensor]:
        """Vectors of the catalogue's rows."""
        return [self.items.weight]

    def sequence_loss(
        self, sequences: Sequences, negatives: Tensor, log_q: Tensor, loss: SequenceLoss = sampled_softmax
    ) -> Tensor:
        """Next-item loss over every position that has a target, with shared negatives [K]; scalar."""
        states = self.encode(sequences.without_newest())  # [B, T - 1, D]
        return self.loss_of_states(states, sequences, negatives, log_q, loss)

    def loss_of_states(
        self,
        states: Tensor,
        sequences: Sequences,
        negatives: Tensor,
        log_q: Tensor,
        loss: SequenceLoss = sampled_softmax,
    ) -> Tensor:
        """Next-item loss of what :meth:`encode` gave before each event but the first, [B, T - 1, D]; scalar."""
        targets, weights = sequences.items[:, 1:], sequences.target_weights[:, 1:]  # [B, T - 1]
        return self.loss_at(states, targets, weights, negatives, log_q, loss)

    def loss_at(
        self,
        states: Tensor,
        targets: Tensor,
        weights: Tensor,
        negatives: Tensor,
        log_q: Tensor,
        loss: SequenceLoss = sampled_softmax,
    ) -> Tensor:
        """Loss of states [B, S, D] against targets [B, S], where these have a weight [B, S]; scalar."""
        places = (weights > 0) & (targets != PADDING)
        chosen = targets[places]  # [P]
        vectors = self.item_vectors(torch.cat([chosen, negatives]))  # one gather: one sparse gradient
        own, others = vectors[: len(chosen)], vectors[len(chosen) :]  # [P, D], [K, D]
        return loss(states[places], chosen, weights[places], own, others, negatives, log_q)
