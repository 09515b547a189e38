"""Whether a server's tables are the trainer's, bucket by bucket, and what is done where they are not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np

from exporters import metrics
from exporters.announcements import Announcement
from exporters.deltas import Row
from exporters.item_tables import ItemTables
from exporters.table_digest import BUCKETS, differing

_log = logging.getLogger(__name__)
_ASK_AGAIN_SECONDS = 5.0
Ask = Callable[[Announcement], None]


class TableParity:
    """Compares tables with the digests that the trainer sends among its rows.

    A digest stands behind the rows that it counts, in one partition, so it is compared when exactly those are applied.
    Where a bucket differs, the trainer is asked to publish its rows again.

    Parameters
    ----------
    model
        The student's name.
    tables
        Its tables.
    ask
        Sends an announcement; it must not wait.
    clock
        Monotonic seconds.
    """

    def __init__(self, model: str, tables: ItemTables, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._tables, self._ask, self._clock = model, tables, ask, clock
        self._asked_at: dict[str, float] = {}
        self._unproven: set[str] = set()
        self._why = ""
        self.differing: dict[str, list[int]] = {}

    def doubt(self, why: str) -> None:
        """Count no table as whole until the trainer has confirmed it."""
        self._why, self._unproven = why, set(self._tables.table_names)
        _log.warning("%s: %s", self._model, why)

    def ask_for_all(self) -> None:
        """Ask the trainer for the digests of all tables now."""
        self._send("", [], self._why)

    def reasons(self) -> list[str]:
        """Say why the tables cannot be trusted; empty where they can."""
        if not self._unproven:
            return []
        return [f"{self._why} The trainer has not confirmed {', '.join(sorted(self._unproven))} of {self._model} yet."]

    def check(self, digest: Row) -> bool:
        """Compare a table with its digest; returns whether they agree."""
        table = digest.item_id
        if table not in self._tables.table_names or len(digest.values) != 8 * BUCKETS:
            _log.warning("a digest of %r of %s cannot be read", table, self._model)
            return False
        started = time.perf_counter()
        different = differing(self._tables.digest(table), np.frombuffer(digest.values, "<u8"))
        metrics.TABLE_PARITY_SECONDS.labels(self._model, table).set(time.perf_counter() - started)
        metrics.TABLE_PARITY_CHECKS.labels(self._model, table, "differs" if different else "agrees").inc()
        metrics.TABLE_PARITY_BUCKETS.labels(self._model, table).set(len(different))
        if different:
            self._mend(table, different)
        else:
            self.differing.pop(table, None)
            self._unproven.discard(table)
        return not different

    def _mend(self, table: str, buckets: list[int]) -> None:
        self.differing[table] = buckets
        shown = ", ".join(map(str, buckets[:8])) + (" …" if len(buckets) > 8 else "")
        why = f"{len(buckets)} of {BUCKETS} buckets of {table} differ from the trainer's (rows modulo that: {shown})"
        _log.warning("%s: %s", self._model, why)
        self._send(table, buckets, why)

    def _send(self, table: str, buckets: list[int], why: str) -> None:
        now = self._clock()
        if now - self._asked_at.get(table, -_ASK_AGAIN_SECONDS) < _ASK_AGAIN_SECONDS:
            return
        self._asked_at[table] = now
        metrics.TABLE_PARITY_REPAIRS.labels(self._model, table or "all").inc()
        time_ms = time.time_ns() // 1_000_000
        self._ask(
            Announcement(name=self._model, kind="repair", table=table, buckets=buckets, reason=why, time_ms=time_ms)
        )
