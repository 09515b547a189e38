"""Row deltas on ``headwater.weights``: what a trainer publishes between two versions of the dense part.

Each message is one row of one table, keyed ``table:item_id``, so that a compacted topic holds the latest of each. The
trainer's catalogue row travels with it: neighbours are rows of that catalogue, and any message teaches the mapping.
Several trainers may write to one topic: a row names its model where that is not the default one, and its key is then
``model/table:item_id``.

Tables
------
``item_vectors``   ``values`` [D], the embedding row of an item
``item_features``  ``values`` [G], see ``online_models.item_features``
``popularity``, ``item_knn``, ``cooccurrence``, ``transitions`` …
                   ``neighbours`` [M] rows with ``weights`` [M], best first (``popularity`` has one row, item_id ``*``)
``catalog``        ``row`` only; row -1 withdraws an item whose row was reused
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

DEFAULT_MODEL = "student"


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of one table (msgpack). Arrays are little-endian bytes: float32 values and weights, int32 neighbours."""

    table: str
    item_id: str
    model: str = DEFAULT_MODEL
    row: int
    step: int  # the trainer's counter of learned examples when this was written; never goes back
    oldest_ms: int = 0  # broker timestamp of the oldest event that this row newly reflects; 0 when unknown
    values: bytes = b""
    neighbours: bytes = b""
    weights: bytes = b""

    @property
    def key(self) -> bytes:
        """The compaction key.

        >>> Row(table="popularity", item_id="*", row=0, step=1, model="caser").key
        b'caser/popularity:*'
        """
        own = "" if self.model == DEFAULT_MODEL else f"{self.model}/"
        return f"{own}{self.table}:{self.item_id}".encode()

    def value_array(self) -> NDArray[np.float32]:
        """``values`` as an array."""
        return np.frombuffer(self.values, "<f4")

    def neighbour_arrays(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``neighbours`` and ``weights`` as arrays of equal length."""
        return np.frombuffer(self.neighbours, "<i4"), np.frombuffer(self.weights, "<f4")


_decoder = msgspec.msgpack.Decoder(Row)


def encode(row: Row) -> bytes:
    """Msgpack bytes of a row."""
    return msgspec.msgpack.encode(row)


def decode(raw: bytes) -> Row:
    """Read a row back.

    >>> row = Row(table="item_vectors", item_id="7", row=3, step=1, values=np.ones(2, "<f4").tobytes())
    >>> decode(encode(row)).value_array()
    array([1., 1.], dtype=float32)
    """
    return _decoder.decode(raw)
