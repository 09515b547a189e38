"""Which part of a long history is trained in an epoch: the latest, a sliding one, or a mixture of both.

The encoder reads K events at most, because that is what it can afford while serving. Training always on the newest K
of each history never shows it the rest. A rule here says where each user's window begins in an epoch; every rule sees
the same users and the same K, so an epoch costs the same number of optimiser steps under each.

Notation: U users, K the length of a window, n a user's number of events.

References
----------
.. [1] "Sliding Window Training: Utilizing Historical Recommender Systems Data for Foundation Models", RecSys 2024.
   The share and the order of the fixed epochs and the offsets are not given there; ours are below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Windows(Protocol):
    """A rule: where the windows of an epoch begin."""

    @property
    def length(self) -> int:
        """K, events in a window."""

    def starts(self, users: Rows, lengths: Rows, epoch: int) -> Rows:
        """First event of each user's window; 0 where the history is shorter than a window. [U]."""
        ...


@dataclass(frozen=True)
class FixedLatest:
    """The newest K events in every epoch: the control.

    ``s = max(n - K, 0)``

    >>> FixedLatest(length=4).starts(np.array([0, 1]), np.array([10, 3]), epoch=5).tolist()
    [6, 0]
    """

    length: int = 100

    def starts(self, users: Rows, lengths: Rows, epoch: int) -> Rows:
        """Newest window of each user. [U]."""
        return np.maximum(lengths - self.length, 0)


@dataclass(frozen=True)
class Sliding:
    """A window that walks over the newest ``recent`` events, further by ``stride`` in each epoch.

    With ``m = min(n, recent)``: ``s = n - m + (offset_u + epoch · stride) mod (m - K + 1)``. The offset is a hash of
    the user, so that the users of a batch stand at different parts of their histories.

    Parameters
    ----------
    length
        K.
    recent
        How far back windows reach; None: over the whole history.
    stride
        Events from one epoch to the next; None: half a window.
    seed
        Changes the offsets.

    Examples
    --------
    >>> rule, user, events = Sliding(length=4, stride=2), np.array([7]), np.array([9])
    >>> places = [int(rule.starts(user, events, epoch)[0]) for epoch in range(6)]
    >>> sorted(places), len({(b - a) % 6 for a, b in zip(places, places[1:])})
    ([1, 1, 3, 3, 5, 5], 1)
    """

    length: int = 100
    recent: int | None = None
    stride: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that leave no window."""
        if self.length < 2:
            raise ValueError(f"length is {self.length}; a window needs at least 2 events, one to predict from")
        if self.recent is not None and self.recent < self.length:
            raise ValueError(f"recent is {self.recent}, length {self.length}; windows must fit into the recent events")

    def starts(self, users: Rows, lengths: Rows, epoch: int) -> Rows:
        """Window of each user in an epoch. [U]."""
        reach = lengths if self.recent is None else np.minimum(lengths, self.recent)
        places = np.maximum(reach - self.length, 0) + 1  # [U] where a window may begin
        stride = self.stride if self.stride is not None else max(self.length // 2, 1)
        walked = (hashed(users, self.seed) % places.astype(np.uint64)).astype(np.int64) + epoch * stride
        begun: Rows = lengths - reach + walked % places
        return begun


@dataclass(frozen=True)
class Mixed:
    """Some epochs on the newest K events, the others sliding inside the newest ``recent``.

    Of every ``1 / fixed_share`` epochs one is fixed, evenly spread. Sliding in all epochs shows the whole history but
    gives away recency; this keeps both.

    >>> rule = Mixed(length=4, recent=8, fixed_share=0.5)
    >>> [rule.is_fixed(epoch) for epoch in range(4)]
    [False, True, False, True]
    >>> rule.starts(np.array([3]), np.array([50]), epoch=1).tolist()
    [46]
    """

    length: int = 100
    recent: int | None = 500
    fixed_share: float = 0.5
    stride: int | None = None
    seed: int = 0
    _latest: FixedLatest = field(init=False, repr=False)
    _sliding: Sliding = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Build the two rules that are mixed."""
        if not 0 <= self.fixed_share <= 1:
            raise ValueError(f"fixed_share is {self.fixed_share}; give a share between 0 and 1, such as 0.5")
        object.__setattr__(self, "_latest", FixedLatest(self.length))
        object.__setattr__(self, "_sliding", Sliding(self.length, self.recent, self.stride, self.seed))

    def is_fixed(self, epoch: int) -> bool:
        """Whether an epoch takes the newest windows."""
        return int((epoch + 1) * self.fixed_share) > int(epoch * self.fixed_share)

    def starts(self, users: Rows, lengths: Rows, epoch: int) -> Rows:
        """Window of each user in an epoch. [U]."""
        if self.is_fixed(epoch):
            return self._latest.starts(users, lengths, epoch)
        slid = epoch - int(epoch * self.fixed_share)  # sliding epochs so far: no place is passed over
        return self._sliding.starts(users, lengths, slid)


def fixed_latest(length: int = 100) -> FixedLatest:
    """Make the control: the newest window in every epoch."""
    return FixedLatest(length)


def all_sliding(length: int = 100, seed: int = 0) -> Sliding:
    """Slide over the whole history in every epoch."""
    return Sliding(length, seed=seed)


def mixed(recent: int, length: int = 100, seed: int = 0) -> Mixed:
    """Alternate between the newest window and one that slides inside the newest ``recent`` events."""
    return Mixed(length, recent, seed=seed)


def hashed(users: Rows, salt: int) -> NDArray[np.uint64]:
    """Hash of users and a salt, spread over all 64 bits (the finaliser of splitmix64). [U].

    >>> first, again, other = (hashed(np.array([1, 2]), salt).tolist() for salt in (5, 5, 6))
    >>> first == again, first == other, first[0] == first[1]
    (True, False, False)
    """
    with np.errstate(over="ignore"):
        mixed_bits = users.astype(np.uint64) + np.uint64(salt + 1) * _GOLDEN
        for shift, multiplier in zip((np.uint64(30), np.uint64(27)), _MULTIPLIERS, strict=True):
            mixed_bits = (mixed_bits ^ (mixed_bits >> shift)) * multiplier
    spread: NDArray[np.uint64] = mixed_bits ^ (mixed_bits >> np.uint64(31))
    return spread
