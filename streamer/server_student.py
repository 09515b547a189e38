"""One student of a server: model host, tables and index, moved on by the records that carry its name."""

from __future__ import annotations

import logging
from collections.abc import Callable

from exporters import metrics
from exporters.announcements import Announcement
from exporters.deltas import Row
from exporters.errors import ExporterError
from exporters.item_tables import VECTORS, ItemTables
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.students import ServedStudent
from feature_store.vectors import ITEM_NAMES
from online_models.sources import TABLES
from streamer.settings import Learning

_log = logging.getLogger(__name__)


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
    """

    def __init__(
        self, name: str, registry: Registry, sizes: Learning, on_applied: Callable[[list[float]], None]
    ) -> None:
        self.name, self.registry = name, registry
        self.host = ModelHost(registry=registry, name=name)
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

    @property
    def served(self) -> ServedStudent:
        """What answers requests."""
        return ServedStudent(host=self.host, tables=self.tables, index=self.index)

    def load(self) -> None:
        """Load what the registry says is current: graphs, and the tables as they were at that version."""
        result = self.host.start()
        if not result.swapped:
            _log.info("no model %s at start: %s", self.name, result.reason)
            return
        self._show_version()
        try:
            stored = self.registry.tables(self.name, self.host.version)
            manifest = self.registry.manifest(self.name, self.host.version)
            self.tables.load(stored.arrays, stored.item_ids, manifest.step)
        except ExporterError as error:
            _log.warning("the tables of %s are left out (%s); the stream brings them", self.host.version, error)
        if self.host.pinned:
            self._restore_vectors()
        self._refresh_index()

    def went_live(self) -> None:
        """Take what the registry got while the backlog was read."""
        self.host.start()
        self._show_version()

    def apply(self, rows: list[Row]) -> int:
        """Apply row deltas of this student; returns how many changed something."""
        applied = self.tables.apply(rows)
        self._refresh_index()
        return applied

    def follow(self, announcement: Announcement) -> None:
        """Act on an announcement of this student."""
        result = self.host.follow(announcement)
        _log.info("%s %s %s: %s", announcement.kind, self.name, announcement.version, result.reason or "serves now")
        if announcement.kind == "rolled_back" and self.host.version == announcement.version:
            self._restore_vectors()
        if announcement.kind == "released":
            self.tables.thaw()
        self._refresh_index()
        self._show_version()

    def _refresh_index(self) -> None:
        rows, vectors, held = self.tables.take_changed()  # [K], [K, D], [K]
        self.index.remove(rows[~held])
        self.index.upsert(rows[held], vectors[held])

    def _restore_vectors(self) -> None:
        stored = self.registry.tables(self.name, self.host.version)
        if VECTORS in stored.arrays:
            self.tables.restore_vectors(stored.arrays[VECTORS], stored.item_ids)

    def _show_version(self) -> None:
        if self._shown != self.host.version and self._shown:
            metrics.MODEL_VERSION.remove(self.name, self._shown)
        self._shown = self.host.version
        if self._shown:
            metrics.MODEL_VERSION.labels(self.name, self._shown).set(1)
