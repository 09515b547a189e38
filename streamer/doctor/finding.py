"""What the doctor says of one thing that it looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamer.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    >>> wrong("topics", "headwater.items is missing", "headwater topics").line
    'topics: headwater.items is missing. Mend: headwater topics'

    Parameters
    ----------
    part
        Of the set-up: broker, topics, stores …
    said
        What was found.
    mend
        What to do; empty where nothing is wrong.
    """

    part: str
    said: str
    mend: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something must be mended."""
        return bool(self.mend)

    @property
    def line(self) -> str:
        """The finding in one line."""
        return f"{self.part}: {self.said}" + (f". Mend: {self.mend}" if self.mend else "")


Check = Callable[[Settings], Iterator[Finding]]
"""Looks at one part."""


def fine(part: str, said: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(part=part, said=said)


def wrong(part: str, said: str, mend: str) -> Finding:
    """Say what is wrong and what mends it.

    Raises
    ------
    ValueError
        There is no mend: the finding would pass for a good one.
    """
    if not mend.strip():
        raise ValueError(f"{part}: {said!r} was given without a mend; say what to do")
    return Finding(part=part, said=said, mend=mend)
