"""Which candidates may be shown at all: allow and deny lists, categories, availability."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask
from exporters.catalogue import Catalogue


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Conditions that every shown item meets.

    >>> from exporters.catalogue import Item
    >>> catalogue = Catalogue()
    >>> catalogue.put(Item(item_id="1", categories=("Drama",), available=False))
    >>> Filters(deny=frozenset({"2"})).mask(["1", "2", "3"], catalogue).tolist()
    [False, False, True]
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    categories: frozenset[str] | None = None  # lower case
    available: bool = True

    @classmethod
    def of(cls, ask: Ask, excluded: Iterable[str] = ()) -> Filters:
        """Read the filters of a request; ``excluded`` (seen items, say) joins its deny list."""
        return cls(
            allow=None if ask.allow is None else frozenset(ask.allow),
            deny=frozenset(ask.deny).union(excluded),
            categories=None if ask.categories is None else frozenset(name.lower() for name in ask.categories),
            available=ask.available,
        )

    def mask(self, item_ids: Sequence[str | None], catalogue: Catalogue) -> NDArray[np.bool_]:
        """Tell for each item whether it may be shown, [N]; None stands for an item that is gone."""
        barred: set[str | None] = {None, *self.deny.intersection(item_ids)}
        if self.available:
            barred |= catalogue.unavailable.intersection(item_ids)
        kept = [item_id not in barred for item_id in item_ids]
        if self.allow is not None or self.categories is not None:
            kept = [held and self._admits(name or "", catalogue) for held, name in zip(kept, item_ids, strict=True)]
        return np.array(kept, np.bool_)

    def _admits(self, item_id: str, catalogue: Catalogue) -> bool:
        if self.allow is not None and item_id not in self.allow:
            return False
        item = catalogue.get(item_id)
        # An item that only interactions have named has no categories; nothing says that it is gone.
        names = item.categories if item else ()
        return self.categories is None or any(name.lower() in self.categories for name in names)
