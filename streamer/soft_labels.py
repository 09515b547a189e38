"""Soft labels on ``headwater.soft-labels``: what the teacher thought of one example, written once.

A list is kept as its best few items with their logits and the mass of all the others together, so that a label has a
bounded size and yet is a whole distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

NOTHING = -math.inf  # remainder where the kept items are all that was scored
UNTOLD = -1  # labels of earlier versions of the program do not say what their teacher had learnt


class SoftLabel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The teacher's opinion of one example (msgpack, keyed by example_id).

    ``softmax([logits, remainder])`` is the teacher's distribution over the list: one share for each item kept, and one
    for all others together.

    ``version`` and ``learnt`` name the weights: the version is the refresh that they come from, and ``learnt`` how many
    examples the teacher had taken in all when it gave the label. The labels of one micro-batch have both in common.
    """

    example_id: str
    version: str  # of the teacher
    event_time_ms: int  # of the example
    labelled_ms: int  # wall clock
    partition: int  # of the example on its topic
    offset: int
    item_ids: list[str]  # best first
    logits: list[float]
    remainder: float = NOTHING  # log Σ exp of the logits of the items that were scored and not kept
    scored: int = 0  # items that were scored
    tasks: dict[str, float] = {}  # logits of what is asked of the item taken, such as "satisfaction"
    learnt: int = UNTOLD  # examples that the teacher had taken before this one's micro-batch

    @property
    def key(self) -> bytes:
        """The key on the topic."""
        return self.example_id.encode()


def kept(
    item_ids: Sequence[str], logits: NDArray[np.floating], most: int, also: int | None = None
) -> tuple[list[str], list[float], float]:
    """Keep the best items of a scored list: their ids, their logits and the remainder's ``log Σ exp``.

    ``also`` names one more place of the list to keep, wherever it stands.

    >>> kept(["a", "b", "c"], np.array([0.0, 2.0, 0.0]), most=1)
    (['b'], [2.0], 0.6931471805599453)
    >>> kept(["a"], np.array([1.0]), most=5)
    (['a'], [1.0], -inf)
    >>> kept(["a", "b", "c"], np.array([0.0, 2.0, 0.0]), most=1, also=2)
    (['b', 'c'], [2.0, 0.0], 0.0)
    """
    order = np.argsort(-logits, kind="stable")
    best, left = order[:most], order[most:]
    if also is not None and also in left:
        best, left = np.append(best, also), left[left != also]
    rest = logits[left].astype(np.float64)
    remainder = float(np.logaddexp.reduce(rest)) if len(rest) else NOTHING
    return [item_ids[place] for place in best], [float(logits[place]) for place in best], remainder


_decoder = msgspec.msgpack.Decoder(SoftLabel)


def encode(label: SoftLabel) -> bytes:
    """Msgpack bytes of a label."""
    return msgspec.msgpack.encode(label)


def decode(raw: bytes) -> SoftLabel:
    """Read a label back; raises ``msgspec.MsgspecError`` on anything else."""
    return _decoder.decode(raw)
