"""What the server knows of items besides numbers: titles, categories, availability, and which words lead to them."""

from __future__ import annotations

import bisect
import heapq
import math
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass

_word = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item of the catalogue."""

    item_id: str
    title: str = ""
    categories: tuple[str, ...] = ()
    price: float | None = None
    published_time_ms: int | None = None
    available: bool = True


def words(text: str) -> list[str]:
    """Split a text into lower-case words.

    >>> words("Toy Story (1995)")
    ['toy', 'story', '1995']
    """
    return _word.findall(text.lower())


class Catalogue:
    """Items by id with an inverted index over titles and categories. One writer, many readers.

    >>> catalogue = Catalogue()
    >>> catalogue.put(Item(item_id="1", title="Toy Story", categories=("Animation",)))
    >>> catalogue.put(Item(item_id="2", title="West Side Story"))
    >>> [item_id for item_id, _ in catalogue.search("toy story", limit=5)]
    ['1', '2']
    """

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._postings: defaultdict[str, set[str]] = defaultdict(set)
        self._categories: defaultdict[str, set[str]] = defaultdict(set)
        self._category_sizes: Counter[str] = Counter()
        self._dated: list[tuple[int, str]] = []  # sorted by publication
        self.unavailable: set[str] = set()
        self.availability_changes = 0  # grows whenever an item becomes available, or stops being so
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def get(self, item_id: str) -> Item | None:
        """Look an item up."""
        return self._items.get(item_id)

    def put(self, item: Item) -> None:
        """Add or replace an item."""
        with self._lock:
            was_available = item.item_id not in self.unavailable
            self._forget(item.item_id)
            self._items[item.item_id] = item
            if not item.available:
                self.unavailable.add(item.item_id)
            self.availability_changes += was_available != item.available
            for word in _terms(item):
                self._postings[word].add(item.item_id)
            self._category_sizes.update(item.categories)
            for category in item.categories:
                self._categories[category.lower()].add(item.item_id)
            if item.published_time_ms is not None:
                bisect.insort(self._dated, (item.published_time_ms, item.item_id))

    def withdraw(self, item_id: str) -> None:
        """Remove an item."""
        with self._lock:
            self.availability_changes += item_id in self.unavailable
            self._forget(item_id)

    def _forget(self, item_id: str) -> None:
        old = self._items.pop(item_id, None)
        self.unavailable.discard(item_id)
        if old is None:
            return
        for word in _terms(old):
            self._postings[word].discard(item_id)
        self._category_sizes.subtract(old.categories)
        for category in old.categories:
            self._categories[category.lower()].discard(item_id)
        if old.published_time_ms is not None:
            del self._dated[bisect.bisect_left(self._dated, (old.published_time_ms, item_id))]

    def newest(self, limit: int, before_ms: int) -> list[str]:
        """Ids of the items published last, no later than ``before_ms``, newest first."""
        with self._lock:
            end = bisect.bisect_right(self._dated, (before_ms + 1, ""))
            return [item_id for _, item_id in reversed(self._dated[max(0, end - limit) : end])]

    def category_sizes(self) -> dict[str, int]:
        """How many items each category has, by its name as it was given."""
        with self._lock:
            return {name: items for name, items in self._category_sizes.items() if items > 0}

    def in_categories(self, categories: Collection[str], limit: int) -> list[str]:
        """Ids of up to ``limit`` items of any of the categories, in the order of their ids."""
        with self._lock:
            found = set().union(*(self._categories.get(name.lower(), set()) for name in categories))
        return heapq.nsmallest(limit, found)

    def search(self, query: str, limit: int) -> list[tuple[str, float]]:
        r"""Find items that share words with the query, best first.

        The score is the share of the query's weight that the item covers, with words weighted by
        :math:`\log(1 + I / I_w)` for ``I`` items of which ``I_w`` carry the word.
        """
        with self._lock:
            postings = {word: tuple(self._postings.get(word, ())) for word in set(words(query))}
        weights = {word: math.log1p(len(self._items) / len(ids)) for word, ids in postings.items() if ids}
        missing = math.log1p(len(self._items)) * (len(postings) - len(weights))
        total = sum(weights.values()) + missing
        scores: defaultdict[str, float] = defaultdict(float)
        for word, weight in weights.items():
            for item_id in postings[word]:
                scores[item_id] += weight / total
        return heapq.nsmallest(limit, scores.items(), key=lambda found: (-found[1], found[0]))


def _terms(item: Item) -> set[str]:
    return set(words(item.title)).union(*map(words, item.categories))
