"""Rows on their way to the servers: checked, put into batches that belong together, and remembered for parity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
import numpy as np

from exporters.deltas import CATALOG, DIGEST, PURGE, SHARED, VECTORS, Row
from exporters.gate import GateLimits, row_problem
from online_models.neighbours import NeighbourTable
from streamer.published_rows import PublishedRows

BATCH_ROWS = 2_000  # a server writes a batch under one hold of its lock: a millisecond or two


class OutgoingRows:
    """Seals the rows that a student hands out.

    Parameters
    ----------
    model
        Name of the student.
    rows
        R, rows of its catalogue.
    lists
        Its neighbour lists as published.
    limits
        What a vector may be.
    """

    def __init__(
        self, model: str, rows: int, lists: Mapping[str, NeighbourTable], limits: GateLimits | None = None
    ) -> None:
        self.model, self.epoch = model, 0
        self.shown = PublishedRows(rows, lists)
        self.refused: Counter[str] = Counter()
        self._limits = limits or GateLimits()
        self._batches = 0
        self._purged: tuple[int, int] | None = None

    def begin(self, epoch: int, step: int) -> None:
        """Start a lineage: what it does not publish itself is no part of it any more."""
        self.epoch, self._batches = epoch, 0
        self.purge_at(step)

    def purge_at(self, step: int) -> None:
        """Have everything that is not published at ``step`` or later purged, once all of it has gone out."""
        self._purged = (self.epoch, step)

    def seal(self, rows: Iterable[Row], step: int) -> list[Row]:
        """Make batches of rows: an item's rows in one batch, withdrawals before what takes their place."""
        gone = [
            Row(table=CATALOG, item_id=item_id, row=-1, model=self.model, step=step)
            for item_id in self.shown.take_withdrawn()
        ]
        sound = [row for row in rows if self._is_sound(row)]
        self.shown.note(sound)
        ordered = [*gone, *sorted(sound, key=lambda row: row.row)]
        return [sealed for batch in _cut(ordered) for sealed in self._batch(batch)]

    def purge(self) -> list[Row]:
        """Give out the purge that is due, once; call it where nothing waits to be published."""
        if self._purged is None:
            return []
        (epoch, step), self._purged = self._purged, None
        return [Row(table=PURGE, item_id=SHARED, row=0, model=self.model, epoch=epoch, step=step)]

    @property
    def complete(self) -> bool:
        """Whether servers hold nothing of an earlier lineage any more."""
        return self._purged is None

    def digest(self, table: str, step: int) -> Row:
        """Say what a server holds of a table once it has applied everything before this row."""
        sums = self.shown.digest(table).astype("<u8").tobytes()
        return Row(table=DIGEST, item_id=table, row=0, model=self.model, epoch=self.epoch, step=step, values=sums)

    def _is_sound(self, row: Row) -> bool:
        values = row.value_array() if row.values else row.neighbour_arrays()[1]
        problem = row_problem(values, self._limits.max_weight if row.table == VECTORS else np.inf)
        if problem:
            self.refused[problem] += 1
        return not problem

    def _batch(self, rows: list[Row]) -> Iterator[Row]:
        self._batches += 1
        for row in rows:
            yield msgspec.structs.replace(row, epoch=self.epoch, batch=self._batches, of=len(rows))


def _cut(rows: list[Row]) -> Iterator[list[Row]]:
    """Cut rows, which are ordered by catalogue row, into batches; never between two rows of one item."""
    first = 0
    while first < len(rows):
        last = min(first + BATCH_ROWS, len(rows))
        while last < len(rows) and rows[last].row == rows[last - 1].row:
            last += 1
        yield rows[first:last]
        first = last
