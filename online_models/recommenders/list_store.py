"""The last so many candidate lists of a stream, from which lessons are drawn again."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from online_models.candidate_network import CandidateLists

_NAMES = tuple(field.name for field in fields(CandidateLists))


class ListStore:
    """A ring of ``capacity`` lists; its tensors are made when the first list says how large they are.

    Parameters
    ----------
    capacity
        Lists that are kept.

    Examples
    --------
    >>> store = ListStore(2)
    >>> one = CandidateLists(inputs=torch.zeros(1, 3, 2), contexts=torch.ones(1, 1), blended=torch.zeros(1, 3),
    ...                      rest=torch.zeros(1), targets=torch.tensor([2]))
    >>> for _ in range(3):
    ...     store.add(one, torch.tensor([0]))
    >>> len(store), store.newest(1).targets.tolist()
    (2, [2])
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.added = 0
        self._ring: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Return how many lists are kept."""
        return min(self.added, self.capacity)

    def add(self, lists: CandidateLists, which: Tensor) -> None:
        """Keep the lists at some places [K]."""
        for place in which.tolist():
            for name in _NAMES:
                value = getattr(lists, name)[place]
                if name not in self._ring:
                    kind = torch.float16 if name == "inputs" else value.dtype  # most of the memory, and bounded values
                    self._ring[name] = torch.zeros(self.capacity, *value.shape, dtype=kind)
                self._ring[name][self.added % self.capacity] = value
            self.added += 1

    def newest(self, count: int) -> CandidateLists:
        """Return the newest ``count`` lists."""
        return self._at(torch.arange(self.added - min(count, len(self)), self.added) % self.capacity)

    def drawn(self, count: int, generator: torch.Generator) -> CandidateLists:
        """Draw lists uniformly, with replacement."""
        return self._at(torch.randint(len(self), (count,), generator=generator))

    def _at(self, places: Tensor) -> CandidateLists:
        picked = {name: self._ring[name][places] for name in _NAMES}
        return CandidateLists(**picked | {"inputs": picked["inputs"].float()})
