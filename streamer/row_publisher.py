"""A trainer's rows on their way to ``headwater.weights``: batches, what bounds a lineage, and checks for parity."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer

from exporters import deltas
from exporters.announcements import Announcement
from exporters.deltas import Row
from streamer import metrics, topics
from streamer.student import Student


class RowPublisher:
    """Decides what goes out beside the rows that changed, and sends all of it in order.

    Parameters
    ----------
    student
        Whose rows.
    producer
        Writes to the broker.
    cycle_seconds
        Each table is checked once in this time.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        student: Student,
        producer: AIOKafkaProducer,
        cycle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._student, self.producer = student, producer
        self._pause_seconds = cycle_seconds / len(student.outgoing.shown.tables)
        self._clock = clock
        self._due: list[str] = []
        self._next = 0
        self._checked_at = clock()
        self.end_offset = 0  # behind the last row that the broker has

    def take(self) -> list[Row]:
        """Take what is to be sent now; call it while nobody learns."""
        student = self._student
        rows = student.take_rows()
        if not student.pending.tables():
            rows += student.outgoing.purge()
        if student.outgoing.complete:
            rows += self._checks()
        return rows

    async def send(self, rows: list[Row]) -> None:
        """Send rows and wait until the broker has them."""
        last: Any = None
        for row in rows:
            last = await self.producer.send(topics.WEIGHTS.name, deltas.encode(row), key=row.key)
            metrics.ROWS_PUBLISHED.labels(table=row.table).inc()
        if rows:
            await self.producer.flush()
        if last is not None:
            self.end_offset = (await last).offset + 1

    def asked(self, request: Announcement) -> None:
        """Take up what a server has asked for; without a table, it wants everything checked."""
        if not request.table:
            self._due = list(self._student.outgoing.shown.tables)
        elif request.table in self._student.outgoing.shown.tables:
            metrics.REPAIRS_ASKED.labels(table=request.table).inc()
            self._student.publish_again(request.table, request.buckets)
            self._due.append(request.table)

    def _checks(self) -> list[Row]:
        tables = self._student.outgoing.shown.tables
        if self._clock() - self._checked_at >= self._pause_seconds:
            self._checked_at = self._clock()
            self._due.append(tables[self._next % len(tables)])
            self._next += 1
        made = {table: self._student.take_check(table) for table in dict.fromkeys(self._due)}
        self._due = [table for table, check in made.items() if check is None and not self._waits_for_gate(table)]
        return [check for check in made.values() if check is not None]

    def _waits_for_gate(self, table: str) -> bool:
        return self._student.guard.holding and table == deltas.VECTORS
