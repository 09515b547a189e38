"""Fixed vocabularies: actions, surfaces and query words become small integers, the same in training and serving.

>>> action_row("click") == action_row("click"), action_row("never heard of") == action_row("other")
(True, True)
>>> query_tokens("Red lipstick", 4).tolist() == query_tokens("red  LIPSTICK", 4).tolist()
True
"""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

ACTIONS = ("view", "click", "play", "like", "cart", "purchase", "rating", "skip", "other")
SURFACES = ("home", "search", "similar", "category", "detail", "cart", "other")
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


def query_tokens(query: str | None, length: int = QUERY_LENGTH) -> NDArray[np.int64]:
    """Hash the words of a query into ``1 .. QUERY_BUCKETS - 1``; 0 pads. [length]."""
    tokens = np.zeros(length, np.int64)
    for place, word in enumerate(_word.findall((query or "").lower())[:length]):
        tokens[place] = 1 + zlib.crc32(word.encode()) % (QUERY_BUCKETS - 1)
    return tokens
