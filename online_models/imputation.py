"""Filling in what a request does not bring, the same way in training and serving."""

from __future__ import annotations

from collections.abc import Callable


def impute_words(query: str | None, source_item_id: str | None, title_of: Callable[[str], str]) -> str | None:
    """Words of a request: its own, else the title of the item that it starts from, else none.

    So "similar to this" is asked for in the language of search, and one model learns both. A search without a source
    item and a plain recommendation stay as they are: null is their value.

    Parameters
    ----------
    query
        As the client gave it.
    source_item_id
        The item that similar ones are asked for; None where there is none.
    title_of
        Title of an item, empty where it is not known.

    References
    ----------
    UniCoRn (Netflix, 2408.10394): the missing context of one task is imputed from another's.

    Examples
    --------
    >>> titles = {"a": "Red lipstick"}
    >>> impute_words(None, "a", titles.get), impute_words("blue", "a", titles.get), impute_words(None, None, titles.get)
    ('Red lipstick', 'blue', None)
    """
    if query:
        return query
    return (title_of(source_item_id) or None) if source_item_id is not None else None
