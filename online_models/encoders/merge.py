"""Merges of an event's parts (item, categories, action, time) into one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# (dimensions of the parts, item first, D) -> module of a list of parts
Merge = Callable[[Sequence[int], int], nn.Module]


class Concatenated(nn.Module):
    """Concatenation merge: ``W [part_1; …; part_n] + b``.

    >>> Concatenated([4, 2], 8)([torch.zeros(3, 4), torch.zeros(3, 2)]).shape
    torch.Size([3, 8])
    """

    def __init__(self, sizes: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.mix = nn.Linear(sum(sizes), dimension)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Merge parts [..., D_i] -> [..., D]."""
        merged: Tensor = self.mix(torch.cat(parts, -1))
        return merged


class Summed(nn.Module):
    """Element-wise merge: ``part_1 + Σ_{i > 1} W_i part_i``; the first has dimension D already.

    >>> Summed([4, 2], 4)([torch.ones(3, 4), torch.zeros(3, 2)]).shape
    torch.Size([3, 4])
    """

    def __init__(self, sizes: Sequence[int], dimension: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(size, dimension, bias=False) for size in sizes[1:])

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Merge parts [..., D_i] -> [..., D]."""
        merged, *sides = parts
        for projection, side in zip(self.projections, sides, strict=True):
            merged = merged + projection(side)
        return merged
