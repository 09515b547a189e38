"""The foundation model: a causal encoder over long histories, whose items are known by id and by metadata."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.batch import PADDING, Candidates, Context
from online_models.encoders.transformer import TransformerBlock
from online_models.encoders.windows import causal
from online_models.foundation import metadata
from online_models.foundation.items import ItemEncoder
from online_models.sequences import SequenceLoss, SequenceRanker, Sequences, sampled_softmax
from online_models.vocabulary import ACTIONS

# Up to so many rows a step moves the whole id table: a rare item's second moment then decays while it waits, and its
# steps are longer. Past that a step costs more than its batch, and only the touched rows move.
_DENSE_ROWS = 50_000


class FoundationModel(SequenceRanker):
    """Next-item model over the last ``length`` events; users and items are vectors of one space.

    ``x_t = √D v_{i_t} + a_t + p_{T-t} + W (log gap before, log gap after)``, ``layers`` pre-norm blocks;
    a user is the last state. Items are scored by ``⟨u, v_i⟩`` with ``v`` of
    :class:`~online_models.foundation.items.ItemEncoder`: the same vectors at the input and at the output. Trained by a
    sampled softmax with logQ over every position of a window (see :mod:`online_models.foundation.windows`), targets
    weighed by action and duration.

    Examples
    --------
    >>> from online_models.checks import SIZES, example_batch
    >>> model, batch = FoundationModel(FoundationModel.Config(catalog_rows=SIZES.rows, dimension=8)), example_batch()
    >>> model.embed_context(batch.context).shape, model(batch.context, batch.candidates).shape
    (torch.Size([8, 8]), torch.Size([8, 12]))

    References
    ----------
    Netflix, "Foundation Model for Personalized Recommendation", 2025. What differs: one event is one token, the context
    of a token is its action and its gaps in time, and a single next item is predicted.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes."""

        catalog_rows: int = 20_000
        dimension: int = 64
        layers: int = 2
        heads: int = 2
        length: int = 100
        dropout: float = 0.2
        id_mask_rate: float = 0.1
        slots: int = metadata.SLOTS
        buckets: int = metadata.BUCKETS

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config = config or self.Config()
        if not 0 <= config.id_mask_rate < 1:
            raise ValueError(f"id_mask_rate is {config.id_mask_rate}; give a share from 0 to below 1, such as 0.1")
        d = config.dimension
        sparse = config.catalog_rows > _DENSE_ROWS
        self.items = nn.Embedding(config.catalog_rows, d, padding_idx=PADDING, sparse=sparse)
        self.actions = nn.Embedding(len(ACTIONS) + 1, d)
        self.positions = nn.Embedding(config.length, d)
        self.times = nn.Linear(2, d, bias=False)
        for table in (self.items, self.actions, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[PADDING] = 0
        self.item_encoder = ItemEncoder(self.items, config.slots, config.buckets)
        self.input_norm, self.output_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(d, config.heads, config.dropout) for _ in range(config.layers))

    def encode(self, sequences: Sequences) -> Tensor:
        """User state after each event. [B, T, D]."""
        rows, places = torch.unique(sequences.items, return_inverse=True)  # [K], [B, T]
        return self._encode(sequences, self.item_encoder(rows)[places])

    def embed_context(self, context: Context) -> Tensor:
        """User state after the newest event. [B, D]."""
        return self.encode(_newest(Sequences.of_context(context), self.config.length))[:, -1]

    def embed_items(self, items: Tensor, features: Tensor) -> Tensor:
        """Item vectors as they are now. [..., D]."""
        return self.vectors(items)

    def vectors(self, items: Tensor) -> Tensor:
        """Vectors of rows [...] as they are now. [..., D]."""
        found: Tensor = self.item_encoder(items.flatten())
        return found.view(*items.shape, -1)

    def item_tables(self) -> list[Tensor]:
        """Everything that belongs to a row's item."""
        encoder = self.item_encoder
        return [self.items.weight, encoder.tokens, encoder.born_seconds, encoder.sightings]

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        """Score candidates. [B, N]."""
        users = self.embed_context(context)  # [B, D]
        return torch.einsum("bd,bnd->bn", users, self.vectors(candidates.items))

    def sequence_loss(
        self, sequences: Sequences, negatives: Tensor, log_q: Tensor, loss: SequenceLoss = sampled_softmax
    ) -> Tensor:
        """Next-item loss over every position that has a target; some ids are masked in training. Scalar."""
        inputs, targets = sequences.without_newest(), sequences.items[:, 1:]  # [B, T - 1]
        weights = sequences.target_weights[:, 1:]
        places = (weights > 0) & (targets != PADDING)
        chosen = targets[places]  # [P]
        # each item is encoded once a batch, and masked everywhere or nowhere in it
        every = torch.cat([inputs.items.flatten(), chosen, negatives])
        rows, where = torch.unique(every, return_inverse=True)  # [K]
        vectors = self.item_encoder(rows, *self._mask(rows))[where]
        seen, own, others = vectors.split([inputs.items.numel(), len(chosen), len(negatives)])
        states = self._encode(inputs, seen.view(*inputs.items.shape, -1))  # [B, T - 1, D]
        return loss(states[places], chosen, weights[places], own, others, negatives, log_q)

    def _mask(self, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Which ids to hide [K], and how young to make those items [K]."""
        if not self.training or self.config.id_mask_rate == 0:
            return None, None
        masked = (torch.rand(len(rows), device=rows.device) < self.config.id_mask_rate) & (rows != PADDING)
        return masked, torch.rand(len(rows), device=rows.device)

    def _encode(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """States from the events' item vectors [B, T, D]. [B, T, D]."""
        mask, length = sequences.mask, sequences.items.shape[1]
        places = torch.arange(length - 1, -1, -1, device=vectors.device)  # the newest is 0
        tokens = vectors * vectors.shape[-1] ** 0.5 + self.actions(sequences.actions) + self.positions(places)
        tokens = tokens + self.times(_gaps(sequences))  # [B, T, D]
        tokens = self.dropout(self.input_norm(tokens)) * mask[..., None]
        allowed = causal(mask)  # [B, 1, T, T]
        for block in self.blocks:
            tokens = block(tokens, allowed)
        states: Tensor = self.output_norm(tokens)
        return states


def _gaps(sequences: Sequences) -> Tensor:
    """Log seconds since the event before and until what follows, about 0 to 2. [B, T, 2]."""
    times, mask = sequences.times_seconds, sequences.mask
    earlier = torch.cat([times[:, :1], times[:, :-1]], 1)
    has_earlier = torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1) & mask
    before = (times - earlier) * has_earlier
    after = (sequences.next_times_seconds - times) * mask
    return torch.stack([before, after], -1).clamp(min=0).log1p().float() / 10


def _newest(sequences: Sequences, length: int) -> Sequences:
    """Cut to the newest ``length`` events."""
    if sequences.items.shape[1] <= length:
        return sequences
    return Sequences(
        items=sequences.items[:, -length:],
        actions=sequences.actions[:, -length:],
        times_seconds=sequences.times_seconds[:, -length:],
        target_weights=sequences.target_weights[:, -length:],
        users=sequences.users,
        asked_seconds=sequences.asked_seconds,
    )
