"""What is answered when the ranker cannot: the user's last good list, else what is popular."""

from __future__ import annotations

import threading
from collections import OrderedDict

from exporters.asks import Ask, RankAsk, SearchAsk
from exporters.candidates import CandidateFinder
from exporters.catalogue import Catalogue
from exporters.filters import Filters


class LastLists:
    """The last good list of each user and surface, for the ``users`` most recent.

    >>> lists = LastLists(users=1)
    >>> lists.put("u", "home", ["1"]); lists.put("v", "home", ["2"])
    >>> lists.get("u", "home"), lists.get("v", "home")
    ([], ['2'])
    """

    def __init__(self, users: int = 10_000) -> None:
        self._users = users
        self._lists: OrderedDict[tuple[str, str], list[str]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, user_id: str, surface: str, item_ids: list[str]) -> None:
        """Keep a list."""
        with self._lock:
            self._lists[user_id, surface] = item_ids
            self._lists.move_to_end((user_id, surface))
            while len(self._lists) > self._users:
                self._lists.popitem(last=False)

    def get(self, user_id: str, surface: str) -> list[str]:
        """Return the list kept, empty where there is none."""
        return self._lists.get((user_id, surface), [])


class Fallback:
    """Answers from memory alone: no store, no graph."""

    def __init__(self, finder: CandidateFinder, catalogue: Catalogue, lists: LastLists) -> None:
        self._finder = finder
        self._catalogue = catalogue
        self._lists = lists

    def item_ids(self, ask: Ask, limit: int) -> list[str]:
        """Up to ``limit`` items that the request's filters admit, best first."""
        filters = Filters.of(ask)
        found = list(dict.fromkeys(self._sources(ask)))
        mask = filters.mask(found, self._catalogue)
        return [item_id for item_id, kept in zip(found, mask, strict=True) if kept][:limit]

    def _sources(self, ask: Ask) -> list[str]:
        if isinstance(ask, RankAsk):
            return ask.candidates
        if isinstance(ask, SearchAsk):
            return [item_id for item_id, _ in self._catalogue.search(ask.query, 200)]
        own = self._lists.get(ask.user_id, ask.surface)
        return [*own, *(ask.allow or ()), *self._finder.popular(200)]
