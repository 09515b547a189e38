"""One student of a server: model host, tables and index, moved on by the records that carry its name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from exporters import metrics
from exporters.announcements import Announcement
from exporters.cells import Cells
from exporters.deltas import DIGEST, Row
from exporters.errors import ExporterError
from exporters.held_tables import HeldTables
from exporters.item_tables import ItemTables
from exporters.manifest import WEIGHTS_OFFSET
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.row_batches import RowBatches
from exporters.runtime import ModelHost
from exporters.session import Execution
from exporters.students import ServedStudent
from feature_store.vectors import ITEM_NAMES
from online_models.sources import TABLES
from streamer.settings import Learning, Serving
from streamer.table_parity import Ask, TableParity
from streamer.version_trials import VersionTrials, canary_of

_log = logging.getLogger(__name__)


class _Pin(NamedTuple):
    """What a server shows of a version that it was rolled back to."""

    version: str
    held: HeldTables
    cells: Cells


class StudentState:
    """What a server holds of one student.

    Parameters
    ----------
    name
        Of the model.
    registry
        Where its versions lie.
    sizes
        Sizes of the tables: all students of a server have the same.
    on_applied
        Told the ages in milliseconds of the events that applied rows reflect.
    ask
        Sends an announcement, see :class:`streamer.table_parity.TableParity`.
    serving
        In which precision and by which providers graphs run.
    """

    def __init__(
        self,
        name: str,
        registry: Registry,
        sizes: Learning,
        on_applied: Callable[[list[float]], None],
        ask: Ask = lambda announcement: None,
        serving: Serving | None = None,
    ) -> None:
        self.name, self.registry = name, registry
        serving = serving or Serving()
        self.host = ModelHost(
            registry=registry,
            name=name,
            precision=serving.precision,
            execution=Execution(providers=serving.providers),
        )
        self._shown = ""
        self.index = VectorIndex(sizes.dimension)
        self.tables = ItemTables(
            sizes.catalog_rows,
            sizes.dimension,
            len(ITEM_NAMES),
            TABLES,
            sizes.neighbours,
            on_applied=on_applied,
        )
        self.parity = TableParity(name, self.tables, ask)
        self.live = False
        self._batches = RowBatches()
        self._ready: list[Row] = []
        self._refused: Counter[str] = Counter()
        self._covered = 0  # rows before this offset of headwater.weights are in the tables that were loaded
        self._pinned_to = ""
        self.trials = VersionTrials(self.host, registry, canary_of(serving), ask)

    @property
    def served(self) -> ServedStudent:
        """What answers requests."""
        return ServedStudent(host=self.host, tables=self.tables, index=self.index, canary=self.trials.canary)

    def load(self) -> None:
        """Load what the registry says is current, and the tables of its newest version, which the stream goes on from.

        The two differ while a rollback pins an earlier version.
        """
        result = self.host.start()
        if not result.swapped:
            _log.info("no model %s at start: %s", self.name, result.reason)
            return
        self.trials.resume()
        self._show_version()
        newest = self.registry.newest(self.name)
        try:
            if newest is not None:
                manifest, stored = newest
                self.tables.load(stored.arrays, stored.item_ids, manifest.stamp)
                self._covered = int(manifest.meta.get(WEIGHTS_OFFSET, 0))
        except ExporterError as error:
            _log.warning("the tables of %s are left out (%s); the stream brings them", self.host.version, error)
        self._refresh_index()
        self._settle()

    def begins_at(self, first: int, end: int) -> None:
        """Learn which rows the topic still has: from offset ``first`` up to ``end``."""
        if first > self._covered:
            self.parity.doubt(
                f"headwater.weights begins at offset {first}, and the newest whole version of {self.name} holds the"
                f" rows up to {self._covered}: some are lost."
            )
        if first > self._covered or end < self._covered:
            self.parity.ask_for_all()

    def went_live(self) -> None:
        """Take what the registry got while the backlog was read."""
        self._ready += self._batches.flush()
        self.commit()
        if not self.trials.under_way:
            self.host.start()
        self.live = True
        self._settle()
        self._show_version()

    def take(self, row: Row) -> None:
        """Take one record of the weights topic; rows wait for :meth:`commit`, and for the rest of their batch."""
        if row.table != DIGEST:
            self._ready += self._batches.add(row)
            return
        self._ready += self._batches.flush()
        self.commit()
        if self.live:
            self.parity.check(row)

    def broken(self, reason: str) -> None:
        """Count a record that could not be read."""
        metrics.ROWS_REFUSED.labels(self.name, reason).inc()
        self._ready += self._batches.broken()

    def commit(self) -> int:
        """Apply every whole batch, in one switch; returns how many rows changed something."""
        if not self._ready:
            return 0
        rows, self._ready = self._ready, []
        applied = self.tables.apply(rows)
        for reason, count in (self.tables.refused - self._refused).items():
            metrics.ROWS_REFUSED.labels(self.name, reason).inc(count)
        self._refused = self.tables.refused.copy()
        self._refresh_index()
        return applied

    def follow(self, announcement: Announcement) -> None:
        """Act on an announcement of this student; neither its time nor the order in which it comes decides."""
        if self._is_behind(announcement):
            _log.info("%s %s %s is older than what serves", announcement.kind, self.name, announcement.version)
            return
        if announcement.kind == "published" and self.trials.offer(announcement.version):
            return
        self.trials.cancel()
        pin = None  # it and the graphs are made before the switch: lists wait for that, not for files
        if announcement.kind == "rolled_back" and announcement.version != self._pinned_to:
            pin = self._pin_of(announcement.version)
            if pin is None:
                return  # a version is shown with its own tables or not at all
        if announcement.moves_servers and not (self.host.pinned and announcement.kind == "published"):
            self.host.load_ahead(announcement.version)
        with self.tables.reading():  # a list is made from one version and its tables
            result = self.host.follow(announcement)
            self._settle(pin)
        _log.info("%s %s %s: %s", announcement.kind, self.name, announcement.version, result.reason or "serves now")
        self._show_version()

    def judge(self) -> None:
        """See how a version on trial does."""
        self.trials.judge()
        if self.host.pinned != bool(self._pinned_to) or self._shown != self.host.version:
            moves = self.host.pinned and self._pinned_to != self.host.version
            pin = self._pin_of(self.host.version) if moves else None
            with self.tables.reading():
                self._settle(pin)
            self._show_version()

    def _is_behind(self, announcement: Announcement) -> bool:
        if announcement.kind != "published" or not self.host.version:
            return False
        known = self.registry.versions(self.name)
        if self.host.version not in known or announcement.version not in known:
            return False  # the registry was made anew, or the announced version has retired: the host finds out
        return known.index(announcement.version) < known.index(self.host.version)

    def _pin_of(self, version: str) -> _Pin | None:
        """Make a version's tables and index beside those that serve; None, and why in the log, where that fails."""
        try:
            stored = self.registry.tables(self.name, version)
            stamp = self.registry.manifest(self.name, version).stamp
            held = self.tables.of_version(stored.arrays, stored.item_ids, stamp)
        except ExporterError as error:
            _log.error("%s is not rolled back to %s, its tables cannot be read: %s", self.name, version, error)
            return None
        rows = held.catalog.live_rows()
        return _Pin(version, held, self.index.of_version(rows, held.vectors[rows]))

    def _settle(self, pin: _Pin | None = None) -> None:
        """Show the tables that belong to the version that serves: its own while it is pinned, else the stream's.

        ``pin`` are a version's, where they are there already.
        """
        wanted = self.host.version if self.host.pinned else ""
        if wanted and wanted != self._pinned_to:
            if pin is None or pin.version != wanted:
                pin = self._pin_of(wanted)
            if pin is not None:  # the index first: who reads meanwhile reads again as soon as the tables change
                self.index.pin(pin.cells)
                self.tables.pin(pin.held)
                self._pinned_to = wanted
        elif not wanted and self._pinned_to:
            self.index.unpin()
            self.tables.unpin()
            self._pinned_to = ""

    def _refresh_index(self) -> None:
        rows, vectors, held = self.tables.take_changed()  # [K], [K, D], [K]
        self.index.remove(rows[~held])
        self.index.upsert(rows[held], vectors[held])

    def _show_version(self) -> None:
        if self._shown != self.host.version and self._shown:
            metrics.MODEL_VERSION.remove(self.name, self._shown)
        self._shown = self.host.version
        if self._shown:
            metrics.MODEL_VERSION.labels(self.name, self._shown).set(1)
