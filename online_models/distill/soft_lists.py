"""Soft labels of whole lists in columns: what a teacher thought of each event before it happened."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from online_models.batch import PADDING
from online_models.distill.diagnosis import target_shares


@dataclass(frozen=True, kw_only=True)
class SoftLists:
    """P bounded labels: the best K items with their logits, and all other items together."""

    items: Tensor  # [P, K] int64 catalogue rows, best first, 0 where fewer were scored
    logits: Tensor  # [P, K] float32, -inf where there is no item
    remainder: Tensor  # [P] float32 log Σ exp of the other items' logits, -inf where there are none
    others: Tensor  # [P] int64 number of the other items

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.items)

    @classmethod
    def of_scores(cls, scores: Tensor, number: int) -> SoftLists:
        """Keep the best items of scored catalogues.

        Parameters
        ----------
        scores
            [P, R] logits by catalogue row, -inf where a row is no candidate.
        number
            K.

        Examples
        --------
        >>> label = SoftLists.of_scores(torch.tensor([[-torch.inf, -torch.inf, 0.0, 2.0, 0.0]]), 2)
        >>> label.items.tolist(), label.logits.tolist(), label.remainder.tolist(), label.others.tolist()
        ([[3, 2]], [[2.0, 0.0]], [0.0], [1])
        """
        best = scores.topk(min(number, scores.shape[1]), dim=1)
        real = best.values > -torch.inf  # [P, K]
        return cls(
            items=best.indices.masked_fill(~real, PADDING),
            logits=best.values,
            remainder=scores.scatter(1, best.indices, -torch.inf).logsumexp(1),
            others=(scores > -torch.inf).sum(1) - real.sum(1),
        )

    @classmethod
    def empty(cls, labels: int, number: int) -> SoftLists:
        """Room for so many labels that say nothing yet."""
        return cls(
            items=torch.zeros(labels, number, dtype=torch.int64),
            logits=torch.full((labels, number), -torch.inf),
            remainder=torch.full((labels,), -torch.inf),
            others=torch.zeros(labels, dtype=torch.int64),
        )

    def take(self, index: Tensor) -> SoftLists:
        """Pick labels by index."""
        return SoftLists(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def put(self, places: Tensor, labels: SoftLists) -> None:
        """Write labels at places, over what stood there."""
        kept = labels.items.shape[1]
        for name in ("items", "logits"):
            getattr(self, name)[places, :kept] = getattr(labels, name)
        self.remainder[places], self.others[places] = labels.remainder, labels.others

    def shares_of(self, targets: Tensor) -> Tensor:
        """Teacher's share of each target [P], an even part of the remainder where it was not kept. [P]."""
        return target_shares(self.items, self.logits, self.remainder, self.others, targets)


class LabelMemory:
    """The newest labels by number, in memory of a fixed size; a student reads them, the teacher is not asked again.

    Parameters
    ----------
    most
        Labels that are kept.
    number
        K, items of a label.

    Examples
    --------
    >>> memory = LabelMemory(most=2, number=1)
    >>> memory.add(SoftLists.of_scores(torch.eye(3), 1)).tolist()
    [1, 2, 3]
    >>> memory.known(torch.tensor([0, 1, 2, 3])).tolist(), memory.at(torch.tensor([2, 3])).items.tolist()
    ([False, False, True, True], [[1], [2]])
    """

    def __init__(self, most: int, number: int) -> None:
        self._labels = SoftLists.empty(most, number)
        self.newest = 0  # number of the last label; the first is 1, and 0 stands for none

    def add(self, labels: SoftLists) -> Tensor:
        """Keep labels, over the oldest ones; returns their numbers. [P]."""
        numbers = torch.arange(self.newest + 1, self.newest + 1 + len(labels))
        self.newest += len(labels)
        fresh = self.known(numbers)  # of more labels than fit, the newest
        self._labels.put(numbers[fresh] % len(self._labels), labels.take(fresh))
        return numbers

    def known(self, numbers: Tensor) -> Tensor:
        """Say which labels are still kept."""
        return (numbers > 0) & (numbers > self.newest - len(self._labels))

    def at(self, numbers: Tensor) -> SoftLists:
        """Read labels that are known."""
        return self._labels.take(numbers % len(self._labels))
