"""In which precision a graph is served, and under which name a version holds it."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "int8"]

_SUFFIX = ".int8"


def int8_name(graph: str) -> str:
    """Name the int8 form of a graph.

    >>> int8_name("rank"), is_int8("rank.int8"), is_int8("rank")
    ('rank.int8', True, False)
    """
    return graph + _SUFFIX


def is_int8(graph: str) -> bool:
    """Whether a graph of a version is the int8 form of another one."""
    return graph.endswith(_SUFFIX)
