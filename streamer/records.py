"""What the worker keeps of one user: the state that everybody reads, and what only the join needs."""

from __future__ import annotations

import msgspec

from feature_store.user_state import UserState
from streamer.examples import Example


class PendingImpression(msgspec.Struct, kw_only=True):
    """A slate whose window is still open.

    ``draft`` is the example as it will be written if nobody takes anything: context and features are those of the
    moment when the slate was shown. ``outcomes`` collects what has been taken so far.
    """

    impression_id: str
    draft: Example
    outcomes: list[int]  # [slate]
    answered: bool = False


class UserRecord(msgspec.Struct, kw_only=True):
    """The durable record of one user.

    ``unmatched_impression_ids`` are impressions that an interaction has named before they arrived.
    """

    user: UserState
    pending: list[PendingImpression] = []
    unmatched_impression_ids: list[str] = []


def new_record(user_id: str) -> UserRecord:
    """Return the record of a user never seen before.

    >>> new_record("u1").user.total_events
    0
    """
    return UserRecord(user=UserState(user_id=user_id))


def encode(record: UserRecord) -> bytes:
    """MessagePack bytes of a record."""
    return _encoder.encode(record)


def decode(raw: bytes) -> UserRecord:
    """Read a record back; raises ``msgspec.ValidationError`` on anything else."""
    return _decoder.decode(raw)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(UserRecord)
