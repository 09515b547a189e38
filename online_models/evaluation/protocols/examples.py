"""Small logs for examples and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from online_models.evaluation.interactions import Interactions


def log_of(pairs: Sequence[tuple[int, int]], **columns: Any) -> Interactions:
    """Make a log of (user, item row) pairs, one a second unless ``columns`` say otherwise.

    >>> log_of([(0, 2), (1, 3)], times_seconds=[5., 9.]).times_seconds.tolist()
    [5.0, 9.0]
    """
    users, items = (np.array([pair[column] for pair in pairs], np.int64) for column in (0, 1))
    given: dict[str, Any] = {
        "times_seconds": np.arange(len(pairs), dtype=np.float64),
        "actions": np.ones(len(pairs), np.int64),
        "values": np.full(len(pairs), np.nan, np.float32),
        "tested": np.ones(len(pairs), bool),
    }
    for name in set(given) & set(columns):
        given[name] = np.array(columns.pop(name), given[name].dtype)
    rows, user_count = max(items.tolist(), default=1) + 1, max(users.tolist(), default=-1) + 1
    size: dict[str, Any] = {"rows": rows, "user_count": user_count}
    return Interactions(users=users, items=items, **given, **(size | columns))
