"""Satisfaction: whether an item was more than taken, from the event that took it."""

from __future__ import annotations

from streamer.examples import Example

TASK = "satisfaction"
LIKED_STARS = 4.0
_strong = frozenset({"like", "purchase"})


def satisfied(example: Example, long_play_seconds: float = 30.0) -> float | None:
    """1 for a like, a purchase, a long play or a rating of 4 stars and more, 0 for any other action.

    None where nothing was taken, and for a play or a rating without its value: that says neither.

    >>> from streamer.examples import History, Position
    >>> one = Example(example_id="x", kind="interaction", source=Position(0, 0), user_id="u", event_time_ms=0,
    ...               published_time_ms=0, history=History([], [], []), session_length=0, features=[],
    ...               item_id="i", action="rating", value=4.5)
    >>> satisfied(one)
    1.0
    """
    if example.kind != "interaction" or example.item_id is None:
        return None
    if example.action in ("rating", "play"):
        least = LIKED_STARS if example.action == "rating" else long_play_seconds
        return None if example.value is None else float(example.value >= least)
    return float(example.action in _strong)
