"""Batches of row deltas, put together again from the records of a topic: a batch is shown whole, or not at all.

A record that cannot be read counts for its batch, so one broken record does not hold back the others. Compaction
takes records of old batches away; what is left of such a batch goes on as soon as the next one begins, because newer
records have replaced the rest. What a trainer had not sent to the end before it was started anew is dropped: the start
publishes everything again.
"""

from __future__ import annotations

from exporters.deltas import Row


class RowBatches:
    """The open batch of one model.

    >>> batches = RowBatches()
    >>> row = lambda batch: Row(table="catalog", item_id="a", row=2, step=1, batch=batch, of=2)
    >>> [len(batches.add(one)) for one in (row(1), row(1), row(2), row(3))]
    [0, 2, 0, 1]
    """

    def __init__(self) -> None:
        self._open: list[Row] = []
        self._seen = 0
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many rows wait for the rest of their batch."""
        return len(self._open)

    def add(self, row: Row) -> list[Row]:
        """Take a row; returns the rows that may be shown now, together."""
        if not row.of:
            return [*self.flush(), row]
        ready = self._superseded(row)
        self._open.append(row)
        return [*ready, *self._counted(row.of)]

    def broken(self) -> list[Row]:
        """Count a record that could not be read; returns the rows that may be shown now."""
        return self._counted(self._open[0].of) if self._open else []

    def flush(self) -> list[Row]:
        """Give out what waits, whole or not."""
        ready, self._open, self._seen = self._open, [], 0
        return ready

    def _superseded(self, row: Row) -> list[Row]:
        if not self._open or (self._open[0].epoch, self._open[0].batch) == (row.epoch, row.batch):
            return []
        if self._open[0].epoch != row.epoch:
            self.dropped += len(self._open)
            self.flush()
        return self.flush()

    def _counted(self, size: int) -> list[Row]:
        self._seen += 1
        return self.flush() if self._seen >= size else []
