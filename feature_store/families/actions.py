"""Which actions count as the same kind of interest."""

from __future__ import annotations

GROUPS = ("look", "engage", "buy", "rate", "reject")

_GROUP_OF = {
    "view": "look",
    "click": "look",
    "open": "look",
    "read": "look",
    "cart": "buy",
    "add_to_cart": "buy",
    "purchase": "buy",
    "buy": "buy",
    "rating": "rate",
    "rate": "rate",
    "review": "rate",
    "skip": "reject",
    "dislike": "reject",
    "hide": "reject",
}


def group(action: str | None) -> str:
    """Group of an action; an action that is not listed (play, like, save, share …) counts as ``engage``.

    >>> group("click"), group("purchase"), group("play"), group(None)
    ('look', 'buy', 'engage', 'look')
    """
    return "look" if action is None else _GROUP_OF.get(action, "engage")
