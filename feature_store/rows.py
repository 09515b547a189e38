"""Records as rows of Feast's protobuf values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from feature_store.families.family import ItemFamily, UserFamily
from feature_store.feast_alone import EntityKey, Int64List, StringList, Value
from feature_store.item_state import ItemState
from feature_store.user_state import UserState

Row: TypeAlias = tuple[Any, dict[str, Any], datetime, None]  # entity key, values by field, event time, created time

_encoder = msgspec.msgpack.Encoder()
_users = msgspec.msgpack.Decoder(UserState)
_items = msgspec.msgpack.Decoder(ItemState)


def pack(state: UserState | ItemState) -> bytes:
    """MessagePack bytes of a record.

    >>> unpack_user(pack(UserState(user_id="u", total_events=3))).total_events
    3
    """
    return _encoder.encode(state)


def unpack_user(raw: bytes) -> UserState:
    """Read a user's record; fields that a newer version added are dropped, missing ones get their defaults."""
    return _users.decode(raw)


def unpack_item(raw: bytes) -> ItemState:
    """Read an item's record, as :func:`unpack_user` does."""
    return _items.decode(raw)


def user_key(user_id: str) -> Any:
    """Feast's entity key of a user, and of the user's session."""
    return EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user_id)])


def item_key(item_id: str) -> Any:
    """Feast's entity key of an item."""
    return EntityKey(join_keys=["item_id"], entity_values=[Value(string_val=item_id)])


def packed_row(state: UserState) -> Row:
    """Row of the view ``user_history`` with the packed record alone: all that a server needs."""
    return user_key(state.user_id), {"packed": Value(bytes_val=pack(state))}, moment(state.watermark_ms), None


def arrays_row(state: UserState) -> Row:
    """Row of the view ``user_history`` with the arrays, for readers that cannot unpack the record."""
    values = {
        "item_ids": _strings(state.item_ids),
        "actions": _strings(state.actions),
        "event_times_ms": Value(int64_list_val=Int64List(val=state.event_times_ms)),
    }
    return user_key(state.user_id), values, moment(state.watermark_ms), None


def session_row(state: UserState) -> Row:
    """Row of the view ``session_state``."""
    values = {
        "session_id": Value() if state.session_id is None else Value(string_val=state.session_id),
        "session_number": Value(int64_val=state.session_number),
        "session_length": Value(int64_val=state.session_length),
        "session_started_ms": Value(int64_val=state.session_started_ms),
    }
    return user_key(state.user_id), values, moment(state.watermark_ms), None


def user_family_row(family: UserFamily, state: UserState) -> Row:
    """Row of a user family's view: its features as they stand at the record's watermark."""
    values = _numbers(family.value(state, state.watermark_ms))
    return user_key(state.user_id), values, moment(state.watermark_ms), None


def item_row(state: ItemState) -> Row:
    """Row of the view ``item_record``."""
    values = {
        "title": Value(string_val=state.title),
        "categories": _strings(state.categories),
        "list_price": Value() if state.price is None else Value(double_val=state.price),
        "published_time_ms": Value() if state.published_time_ms is None else Value(int64_val=state.published_time_ms),
        "available": Value(bool_val=state.available),
        "packed": Value(bytes_val=pack(state)),
    }
    return item_key(state.item_id), values, moment(state.last_seen_ms), None


def item_family_row(family: ItemFamily, state: ItemState) -> Row:
    """Row of an item family's view: its features as they stand when the item was last seen."""
    values = _numbers(family.value(state, state.last_seen_ms))
    return item_key(state.item_id), values, moment(state.last_seen_ms), None


def moment(time_ms: int) -> datetime:
    """UTC time of a number of milliseconds.

    >>> moment(1_500).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    return datetime.fromtimestamp(time_ms / 1_000, UTC)


def _strings(values: Sequence[str]) -> Any:
    return Value(string_list_val=StringList(val=values))


def _numbers(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: Value(double_val=value) for name, value in values.items()}
