"""The vectors of a batch's items, each read once from its table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.distinct import numbered


class Gathered:
    """Vectors of the distinct rows among some tensors of rows, and where each tensor finds its own.

    What is read once has one gradient: a sparse table gets one row an item, where reading it place by place gives a
    row for each place, to be sorted and summed.

    Parameters
    ----------
    table
        [R, D].
    rows
        Catalogue rows of any shape, by name.

    Examples
    --------
    >>> table = nn.Embedding.from_pretrained(torch.arange(8.0).view(4, 2))
    >>> gathered = Gathered(table, history=torch.tensor([[3, 1]]), source=torch.tensor([3]))
    >>> gathered.vectors.tolist(), gathered.places["history"].tolist(), gathered.of("source").tolist()
    ([[2.0, 3.0], [6.0, 7.0]], [[1, 0]], [[6.0, 7.0]])
    """

    def __init__(self, table: nn.Embedding, **rows: Tensor) -> None:
        device = table.weight.device
        flat = torch.cat([part.flatten() for part in rows.values()]).cpu().numpy()
        known, places = numbered(flat)
        self.vectors: Tensor = table(torch.from_numpy(known).to(device))  # [U, D]
        ends = np.cumsum([part.numel() for part in rows.values()])[:-1]
        self.places = {
            name: torch.from_numpy(found).view(part.shape).to(device)
            for (name, part), found in zip(rows.items(), np.split(places, ends), strict=True)
        }

    def of(self, name: str) -> Tensor:
        """Vectors of one of the tensors. [..., D]."""
        return self.at(self.places[name])

    def at(self, places: Tensor) -> Tensor:
        """Vectors at some places [...] of :attr:`vectors`. [..., D]."""
        return F.embedding(places, self.vectors)

    def products(self, users: Tensor, name: str) -> Tensor:
        """``u · e_j`` of users [B, D] with the items [B, N] of one of the tensors. [B, N].

        One product with all distinct vectors: no vector is copied for each list that holds it.
        """
        return (users @ self.vectors.T).gather(1, self.places[name])
