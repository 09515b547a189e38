"""Item vectors of two halves: what is known of this item, and what is known of its kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from online_models.batch import PADDING, UNKNOWN

SECONDS_A_DAY = 86_400.0
_AGE_SIGNALS = 3  # a constant, log days since it appeared, log times that it was seen


class ItemEncoder(nn.Module):
    """Id vector and metadata vector, mixed by attention on the entity's age.

    ``v_i = α_1 E[i] + α_2 M(i)`` with ``α = softmax(W φ(i))``, ``φ = (1, log(1 + days), log(1 + sightings))`` and
    ``M(i)`` the mean of the item's metadata tokens' vectors. In training the id of a share of the items of each batch
    is masked: the vector of the unknown item stands for ``E[i]``, its sightings count as none and its age is drawn
    between none and its real one, so that the gate learns how an item looks that nobody has taken yet.

    Parameters
    ----------
    items
        The id table [R, D]; row 1 is the unknown item.
    slots, buckets
        Metadata tokens of an item, and rows of their table.

    References
    ----------
    Netflix, "Foundation Model for Personalized Recommendation", 2025: the attention on entity age and the masking of
    ids. Sightings beside the age in time are ours: an old item that nobody takes has no better id vector than a new
    one.
    """

    tokens: Tensor
    born_seconds: Tensor
    sightings: Tensor
    clock_seconds: Tensor

    def __init__(self, items: nn.Embedding, slots: int, buckets: int) -> None:
        super().__init__()
        rows, dimension = items.weight.shape
        self.items = items
        self.metadata = nn.EmbeddingBag(buckets, dimension, mode="mean", padding_idx=PADDING, sparse=items.sparse)
        self.gate = nn.Linear(_AGE_SIGNALS, 2, bias=False)
        self.register_buffer("tokens", torch.zeros(rows, slots, dtype=torch.int64))  # [R, M]
        self.register_buffer("born_seconds", torch.full((rows,), torch.inf, dtype=torch.float64))  # [R]
        self.register_buffer("sightings", torch.zeros(rows))  # [R]
        self.register_buffer("clock_seconds", torch.zeros((), dtype=torch.float64))
        self._start()

    def _start(self) -> None:
        """Start with an id that counts as much as its kind once it was seen some ten times."""
        nn.init.normal_(self.metadata.weight, std=0.02)
        with torch.no_grad():
            self.metadata.weight[PADDING] = 0
            self.gate.weight.zero_()
            self.gate.weight[0] = torch.tensor([-1.0, 0.0, 0.5])

    def forward(self, rows: Tensor, masked: Tensor | None = None, shrink: Tensor | None = None) -> Tensor:
        """Vectors of rows [K], those that are ``masked`` [K] from metadata alone. [K, D].

        Parameters
        ----------
        rows
            Catalogue rows.
        masked
            Whose id is hidden; none where it is None.
        shrink
            [K] between 0 and 1: how much of its age a masked item keeps.
        """
        known, signals = rows, self.signals(rows)  # [K], [K, 3]
        if masked is not None:
            assert shrink is not None
            known = torch.where(masked, UNKNOWN, rows)
            young = torch.stack([torch.ones_like(shrink), signals[:, 1] * shrink, torch.zeros_like(shrink)], -1)
            signals = torch.where(masked[:, None], young, signals)
        shares = self.gate(signals).softmax(-1)  # [K, 2]
        own, kind = self.items(known), self.metadata(self.tokens[rows])  # [K, D] each
        mixed: Tensor = shares[:, :1] * own + shares[:, 1:] * kind
        return mixed

    def signals(self, rows: Tensor) -> Tensor:
        """Signals of age φ of rows [K]. [K, 3]."""
        seconds = (self.clock_seconds - self.born_seconds[rows]).clamp(min=0)
        days = (seconds / SECONDS_A_DAY).float()
        return torch.stack([torch.ones_like(days), days.log1p(), self.sightings[rows].log1p()], -1)

    def shares(self, rows: Tensor) -> Tensor:
        """How much of each vector is its id's and its metadata's. [K, 2]."""
        weights: Tensor = self.gate(self.signals(rows)).softmax(-1)
        return weights

    @torch.no_grad()
    def observe(self, rows: Tensor, times_seconds: Tensor) -> None:
        """Note sightings of rows [K] at their times [K]; the first one dates an item that has no other date."""
        if len(rows) == 0:
            return
        self.sightings += torch.bincount(rows, minlength=len(self.sightings)).to(self.sightings.dtype)
        self.born_seconds.scatter_reduce_(0, rows, times_seconds.double(), "amin")
        self.clock_seconds.fill_(max(float(self.clock_seconds), float(times_seconds.max())))

    @torch.no_grad()
    def describe(self, row: int, tokens: Tensor, published_seconds: float | None = None) -> None:
        """Take over what the catalogue says of one row: tokens [M] and the date of publication."""
        self.tokens[row] = tokens
        if published_seconds is not None:
            self.born_seconds[row] = min(float(self.born_seconds[row]), published_seconds)
