"""Caser: convolutions over the last items, seen as an image of items by dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.encoders.window_convolutions import WindowConvolutions
from online_models.learner import Graph, TorchLearner, seeded
from online_models.sequences import SequenceLoss, SequenceRanker, Sequences, sampled_softmax


class Caser(SequenceRanker):
    """Scores the next items by horizontal and vertical convolutions over the last L items, beside the user's taste.

    With E the L × D image of the last L items, missing ones 0, and ``u`` the user's vector::

        o_h  = max over time of ReLU(conv_{h × D}(E))      n_h filters of every height h = 1 … L
        õ    = conv_{L × 1}(E)                             n_v filters: weighted sums of the L items
        z    = ReLU(W [o_1 … o_L; õ] + b)
        s(i) = ⟨[z; u; 1], v(i)⟩                           the last entry of v(i) is the item's bias

    Every position of a history is trained at once: a convolution runs once over the whole history, and each position
    takes the maximum over its own window. Each predicts the next ``targets`` items. What scores an item, v(i), is not
    the vector that the image shows. The loss is the one that is passed; the published one is the binary cross-entropy.

    Parameters
    ----------
    config
        Sizes, see :class:`Caser.Config`.

    References
    ----------
    J. Tang, K. Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018.
    What differs: users share rows by modulo, so that memory is bounded, and negatives are shared by a batch.

    Examples
    --------
    >>> ranker = Caser(Caser.Config(catalog_rows=32, users=8))
    >>> sorted(ranker.graphs())
    ['encode']
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Sizes: ``window`` is L, ``targets`` how many items ahead are predicted."""

        catalog_rows: int
        users: int = 50_000
        dimension: int = 50
        window: int = 5
        targets: int = 3
        horizontal_filters: int = 16
        vertical_filters: int = 4
        dropout: float = 0.5

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        d = config.dimension
        self.inputs = nn.Embedding(config.catalog_rows, d, padding_idx=0, sparse=True)
        self.users = nn.Embedding(config.users, d, sparse=True)
        self.items = nn.Embedding(config.catalog_rows, 2 * d + 1, padding_idx=0, sparse=True)  # v(i)
        for table in (self.inputs, self.users, self.items):
            nn.init.normal_(table.weight, std=1 / d)
        with torch.no_grad():
            self.inputs.weight[0] = 0
            self.items.weight[0] = 0
            self.items.weight[:, -1] = 0
        self.core = _Core(config)

    @classmethod
    def make_for_checks(cls) -> TorchLearner:
        """Build a small one for the laws."""
        from online_models.checks import SIZES

        with seeded(7):
            return TorchLearner(cls(cls.Config(catalog_rows=SIZES.rows, users=SIZES.users, dimension=16)))

    def encode(self, sequences: Sequences) -> Tensor:
        """User state after each event, from the window that ends there. [B, T, 2 D + 1]."""
        vectors = self.inputs(sequences.items) * sequences.mask[..., None]  # [B, T, D]
        states: Tensor = self.core(vectors, self.users(sequences.users % self.config.users))
        return states

    def newest_state(self, sequences: Sequences) -> Tensor:
        """User state after the newest event, from the last window alone. [B, 2 D + 1]."""
        items = sequences.items[:, -self.config.window :]  # [B, ≤ L]
        vectors = self.inputs(items) * (items != 0)[..., None]
        states: Tensor = self.core.newest(vectors, self.users(sequences.users % self.config.users))
        return states

    def item_tables(self) -> list[Tensor]:
        """Vectors that score and vectors that are read, by row of the catalogue."""
        return [self.items.weight, self.inputs.weight]

    def loss_of_states(
        self,
        states: Tensor,
        sequences: Sequences,
        negatives: Tensor,
        log_q: Tensor,
        loss: SequenceLoss = sampled_softmax,
    ) -> Tensor:
        """Loss of the next ``targets`` items from every position that has read at least one event; scalar."""
        read, length = sequences.mask[:, :-1], sequences.items.shape[1]  # [B, T - 1]
        ahead = range(1, min(self.config.targets, length - 1) + 1)
        weights = [sequences.target_weights[:, step:] * read[:, : length - step] for step in ahead]
        return self.loss_at(
            torch.cat([states[:, : length - step] for step in ahead], 1),  # [B, S, 2 D + 1]
            torch.cat([sequences.items[:, step:] for step in ahead], 1),  # [B, S]
            torch.cat(weights, 1),  # [B, S]
            negatives,
            log_q,
            loss,
        )

    def graphs(self) -> dict[str, Graph]:
        """``encode`` gives the user vector from the last L items; all tables stay outside."""
        c, batch = self.config, 2
        inputs = {
            "history_vectors": torch.zeros(batch, c.window, c.dimension),
            "history_mask": torch.ones(batch, c.window),
            "taste_vector": torch.zeros(batch, c.dimension),
        }
        return {
            "encode": Graph(
                module=_Encode(self.core),
                inputs=inputs,
                outputs=("user_vector",),
                dynamic={name: {0: "B"} for name in inputs},
                tables={
                    "item_vectors": self.items.weight,
                    "history_item_vectors": self.inputs.weight,
                    "taste_vectors": self.users.weight,
                },
            )
        }


class _Core(WindowConvolutions):
    """Everything but the tables."""

    def __init__(self, config: Caser.Config) -> None:
        super().__init__(
            config.dimension,
            window=config.window,
            horizontal_filters=config.horizontal_filters,
            vertical_filters=config.vertical_filters,
            dropout=config.dropout,
        )

    def forward(self, vectors: Tensor, user: Tensor) -> Tensor:
        """States of all positions; ``vectors`` [B, T, D], ``user`` [B, D] -> [B, T, 2 D + 1]."""
        mixed = self.slide(vectors)  # [B, T, D]
        return _with_taste(mixed, user[:, None].expand(-1, mixed.shape[1], -1))

    def newest(self, vectors: Tensor, user: Tensor) -> Tensor:
        """State after the last of ``vectors`` [B, T, D] -> [B, 2 D + 1]."""
        return _with_taste(self.last(vectors), user)


def _with_taste(mixed: Tensor, user: Tensor) -> Tensor:
    """``[z; u; 1]``. [..., 2 D + 1]."""
    return torch.cat([mixed, user, torch.ones_like(mixed[..., :1])], -1)


class _Encode(nn.Module):
    """The served computation."""

    def __init__(self, core: _Core) -> None:
        super().__init__()
        self.core = core

    def forward(self, history_vectors: Tensor, history_mask: Tensor, taste_vector: Tensor) -> Tensor:
        """User vector [B, 2 D + 1]."""
        return self.core.newest(history_vectors * (history_mask > 0)[..., None], taste_vector)
