"""Fixed vocabularies: actions, surfaces and query words become small integers, the same in training and serving.

>>> action_row("click") == action_row("click"), action_row("never heard of") == action_row("other")
(True, True)
>>> query_tokens("Red lipstick", 4).tolist() == query_tokens("red  LIPSTICK", 4).tolist()
True
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

ACTIONS = ("view", "click", "play", "like", "cart", "purchase", "rating", "skip", "other")
SURFACES = ("home", "search", "similar", "category", "detail", "cart", "other")
AGE_EDGES_DAYS = (1.0, 7.0, 30.0, 90.0, 365.0, 1_095.0, 3_650.0)
AGE_NAMES = (
    "out today",
    "out this week",
    "out this month",
    "under 3 months old",
    "under a year old",
    "under 3 years old",
    "under 10 years old",
    "older",
)
FAMILIARITIES = ("again", "kin", "new")
CATEGORY_BUCKETS = 64
QUERY_BUCKETS = 4_096
QUERY_LENGTH = 8

_action_rows = {name: row for row, name in enumerate(ACTIONS, start=1)}
_surface_rows = {name: row for row, name in enumerate(SURFACES, start=1)}
_word = re.compile(r"\w+")


def action_row(action: str | None) -> int:
    """Row of an action in the action table; 0 for none, the row of ``other`` for an unknown one."""
    return 0 if action is None else _action_rows.get(action, _action_rows["other"])


def surface_row(surface: str | None) -> int:
    """Row of a surface in the surface table; 0 for none, the row of ``other`` for an unknown one."""
    return 0 if surface is None else _surface_rows.get(surface, _surface_rows["other"])


def category_buckets(categories: Iterable[str]) -> list[int]:
    """Hash categories into the buckets of the category intent, each once, in order.

    >>> category_buckets(["Drama"]) == category_buckets(["Drama", "Drama"]), len(category_buckets(["a", "b"])) <= 2
    (True, True)
    """
    return sorted({zlib.crc32(category.encode()) % CATEGORY_BUCKETS for category in categories})


def query_tokens(query: str | None, length: int = QUERY_LENGTH) -> NDArray[np.int64]:
    """Hash the words of a query into ``1 .. QUERY_BUCKETS - 1``; 0 pads. [length]."""
    tokens = np.zeros(length, np.int64)
    for place, word in enumerate(_word.findall((query or "").lower())[:length]):
        tokens[place] = 1 + zlib.crc32(word.encode()) % (QUERY_BUCKETS - 1)
    return tokens
