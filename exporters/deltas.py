"""Row deltas on ``headwater.weights``: what a trainer publishes between two versions of the dense part.

Each message is one row of one table, keyed ``table:item_id``, so that a compacted topic holds the latest of each. The
trainer's catalogue row travels with it: neighbours are rows of that catalogue, and any message teaches the mapping.
Several trainers may write to one topic: a row names its model where that is not the default one, and its key is then
``model/table:item_id``.

Rows that were taken together carry one ``batch`` and their number ``of``: a server shows all of them or none
(:mod:`exporters.row_batches`). A message starts with a checksum; messages of before there was one are read too.

Tables
------
``item_vectors``   ``values`` [D], the embedding row of an item
``item_features``  ``values`` [G], see ``online_models.item_features``
``popularity``, ``item_knn``, ``cooccurrence``, ``transitions`` …
                   ``neighbours`` [M] rows with ``weights`` [M], best first (``popularity`` has one row, item_id ``*``)
``catalog``        ``row`` only; row -1 withdraws an item whose row was reused
``purge``          no content: whatever was last named before this message is no part of the learner any more
``digest``         ``values`` hold the sums of a whole table, whose name is the item_id (:mod:`exporters.table_digest`)
"""

from __future__ import annotations

import struct
import zlib

import msgspec
import numpy as np
from numpy.typing import NDArray

DEFAULT_MODEL = "student"
SHARED = "*"  # the item id of what belongs to no single item
VECTORS, FEATURES = "item_vectors", "item_features"
CATALOG, PURGE, DIGEST = "catalog", "purge", "digest"
_MARK = b"\xc1"  # never the first byte of msgpack
_HEAD = struct.Struct("<cI")  # mark, CRC-32 of what follows
_STEPS = 1 << 32


class ChecksumError(msgspec.DecodeError):
    """A message is not what was written."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of one table (msgpack). Arrays are little-endian bytes: float32 values and weights, int32 neighbours."""

    table: str
    item_id: str
    model: str = DEFAULT_MODEL
    row: int
    step: int  # the trainer's counter of learned examples when this was written; goes back with a snapshot only
    epoch: int = 0  # grows with every start of the trainer: one from an older snapshot is newer all the same
    batch: int = 0  # grows within an epoch
    of: int = 0  # rows of the batch; 0: a batch of its own
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
        return key_of(self.model, self.table, self.item_id)

    @property
    def stamp(self) -> int:
        """What is newer has the larger stamp, whatever any clock says."""
        return stamp_of(self.epoch, self.step)

    def value_array(self) -> NDArray[np.float32]:
        """``values`` as an array."""
        return np.frombuffer(self.values, "<f4")

    def neighbour_arrays(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``neighbours`` and ``weights`` as arrays of equal length."""
        return np.frombuffer(self.neighbours, "<i4"), np.frombuffer(self.weights, "<f4")


def key_of(model: str, table: str, item_id: str) -> bytes:
    """Compaction key of a row."""
    own = "" if model == DEFAULT_MODEL else f"{model}/"
    return f"{own}{table}:{item_id}".encode()


def model_of(key: bytes) -> str:
    """Name the model of a key.

    >>> model_of(b"caser/popularity:*"), model_of(b"item_vectors:a/b")
    ('caser', 'student')
    """
    name, slash, rest = key.partition(b"/")
    return name.decode(errors="replace") if slash and b":" not in name and b":" in rest else DEFAULT_MODEL


def stamp_of(epoch: int, step: int) -> int:
    """Order of a learner's states: by start, then by learned examples.

    >>> stamp_of(2, 5) > stamp_of(1, 900)
    True
    """
    return epoch * _STEPS + step


_decoder = msgspec.msgpack.Decoder(Row)


def encode(row: Row) -> bytes:
    """Msgpack bytes of a row, behind their checksum."""
    content = msgspec.msgpack.encode(row)
    return _HEAD.pack(_MARK, zlib.crc32(content)) + content


def decode(raw: bytes) -> Row:
    """Read a row back.

    Raises
    ------
    ChecksumError
        Where a byte has changed since it was written.
    msgspec.DecodeError
        Where it never was a row.

    Examples
    --------
    >>> row = Row(table="item_vectors", item_id="7", row=3, step=1, values=np.ones(2, "<f4").tobytes())
    >>> decode(encode(row)).value_array()
    array([1., 1.], dtype=float32)
    """
    if raw[:1] != _MARK:
        return _decoder.decode(raw)
    if len(raw) < _HEAD.size:
        raise ChecksumError(f"a row of {len(raw)} bytes has no checksum of {_HEAD.size - 1}")
    _, wanted = _HEAD.unpack_from(raw)
    content = memoryview(raw)[_HEAD.size :]
    if zlib.crc32(content) != wanted:
        raise ChecksumError(f"a row of {len(raw)} bytes is damaged: its checksum is not {wanted:#010x}")
    return _decoder.decode(content)
