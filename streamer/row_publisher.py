"""A trainer's rows on their way to ``headwater.weights``: batches, what bounds a lineage, and checks for parity."""

from __future__ import annotations

import asyncio
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
    least_seconds
        Between two collections that nobody but the learner asks for.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        student: Student,
        producer: AIOKafkaProducer,
        cycle_seconds: float,
        least_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._student, self.producer = student, producer
        self._pause_seconds, self._least_seconds = cycle_seconds / len(student.outgoing.shown.tables), least_seconds
        self._clock = clock
        self._due: list[str] = []
        self._next = 0
        self._checked_at = self._collected_at = clock()
        self._collected: list[tuple[int, list[Row]]] = []
        self._sending = asyncio.Lock()
        self.end_offset = 0  # behind the last row that the broker has

    @property
    def is_due(self) -> bool:
        """Whether rows should be collected behind the micro-batch that has just been learnt."""
        return not self._collected and self._clock() - self._collected_at >= self._least_seconds

    @property
    def waits(self) -> bool:
        """Whether something was put aside and not sent."""
        return bool(self._collected)

    def collect(self) -> None:
        """Put aside what is to be sent now, for :meth:`send_collected`; call it while nobody learns."""
        self._collected_at = self._clock()
        self._collected.append((self._student.learned, self.take()))

    async def send_collected(self) -> int | None:
        """Send what was put aside, in order; returns the step that servers can have now, None where nothing was."""
        sent = None
        async with self._sending:
            while self._collected:
                step, rows = self._collected.pop(0)
                await self.send(rows)
                sent = step if rows else sent
        return sent

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
