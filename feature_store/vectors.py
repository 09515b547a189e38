"""From records to vectors: the order of the features, for training and serving alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_store.families import ITEM_FAMILIES, USER_FAMILIES
from feature_store.item_state import ItemState
from feature_store.user_state import UserState

BIAS = "bias"

NAMES: tuple[str, ...] = (BIAS, *(field for family in USER_FAMILIES for field in family.fields))
ITEM_NAMES: tuple[str, ...] = tuple(field for family in ITEM_FAMILIES for field in family.fields)


def user_vector(state: UserState, now_ms: int) -> NDArray[np.float32]:
    """Features of a user at ``now_ms``, in the order of :data:`NAMES`; entry 0 is the constant 1.

    For a training example ``state`` is the record as it was before the event and ``now_ms`` the event's time; for a
    request it is the record as stored and the clock. The values lie roughly in [-3, 3].

    >>> dict(zip(NAMES, user_vector(UserState(user_id="u"), 0).tolist()))["new_user"]
    1.0
    """
    values = [1.0]
    for family in USER_FAMILIES:
        read = family.value(state, now_ms)
        values.extend([read[field] for field in family.fields])
    return np.array(values, dtype=np.float32)  # [F]


def item_vector(state: ItemState, now_ms: int) -> NDArray[np.float32]:
    """Features of an item at ``now_ms``, in the order of :data:`ITEM_NAMES`.

    >>> dict(zip(ITEM_NAMES, item_vector(ItemState(item_id="i", price=19.0), 0).tolist()))["log_price"]
    1.0
    """
    values: list[float] = []
    for family in ITEM_FAMILIES:
        read = family.value(state, now_ms)
        values.extend([read[field] for field in family.fields])
    return np.array(values, dtype=np.float32)  # [G]
