"""Rows that changed since they were last published, and since when."""

from __future__ import annotations

from collections.abc import Iterable


class PendingRows:
    """For each table the rows that wait to be published, longest waiting first.

    >>> pending = PendingRows()
    >>> pending.add("item_knn", [3, 4], oldest_ms=100); pending.add("item_knn", [4, 5], oldest_ms=200)
    >>> pending.take("item_knn", 2), pending.take("item_knn", 2)
    ({3: 100, 4: 100}, {5: 200})
    """

    def __init__(self) -> None:
        self._since_ms: dict[str, dict[int, int]] = {}

    def add(self, table: str, rows: Iterable[int], oldest_ms: int) -> None:
        """Note changed rows; a row that waits already keeps its earlier time, unless that is 0: of no event."""
        waiting = self._since_ms.setdefault(table, {})
        for row in rows:
            waiting[row] = waiting.get(row) or oldest_ms

    def take(self, table: str, most: int) -> dict[int, int]:
        """Take up to ``most`` rows of a table, with the broker time of the oldest event that each has not shown yet."""
        waiting = self._since_ms.get(table, {})
        taken = dict(list(waiting.items())[:most])
        for row in taken:
            del waiting[row]
        return taken

    def tables(self) -> list[str]:
        """Tables that have rows waiting."""
        return [table for table, waiting in self._since_ms.items() if waiting]

    def discard(self, rows: Iterable[int]) -> None:
        """Forget rows of every item table (their item has left)."""
        for waiting in self._since_ms.values():
            for row in rows:
                waiting.pop(row, None)
