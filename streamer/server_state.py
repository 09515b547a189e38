"""What a server holds of the learners: tables, index, catalogue and model, moved on by the topics' records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import msgspec
from aiokafka import ConsumerRecord

from exporters import announcements, deltas, metrics
from exporters.announcements import Announcement
from exporters.catalogue import Catalogue, Item
from exporters.errors import ExporterError
from exporters.foundation import MODEL as FOUNDATION
from exporters.foundation import FoundationIndex
from exporters.item_tables import VECTORS, ItemTables
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.stats import Board
from feature_store.vectors import ITEM_NAMES
from online_models.sources import TABLES
from streamer.errors import EventError
from streamer.events import Event, Limits, decode
from streamer.settings import Settings

_log = logging.getLogger(__name__)


class ServerState:
    """Tables, index, catalogue and model host of one server.

    Parameters
    ----------
    settings
        Sizes, and where the registry lies.
    """

    def __init__(self, settings: Settings) -> None:
        learning = settings.learning
        self.board = Board()
        self.registry = Registry(settings.stores.models_dir)
        self.host = ModelHost(registry=self.registry)
        self.catalogue = Catalogue()
        self.foundation = FoundationIndex(self.registry)
        self.index = VectorIndex(learning.dimension)
        self.tables = ItemTables(
            learning.catalog_rows,
            learning.dimension,
            len(ITEM_NAMES),
            TABLES,
            learning.neighbours,
            on_applied=self._observe,
        )
        self.live = False  # past the backlog: ages measured before that say nothing of freshness
        self._limits = Limits(**settings.events.model_dump())

    def load(self) -> None:
        """Load what the registry says is current: graphs, and the tables as they were at that version."""
        self.follow_foundation()
        result = self.host.start()
        if not result.swapped:
            _log.info("no model at start: %s", result.reason)
            return
        self._show_version()
        try:
            stored = self.registry.tables(self.host.name, self.host.version)
            manifest = self.registry.manifest(self.host.name, self.host.version)
            self.tables.load(stored.arrays, stored.item_ids, manifest.step)
        except ExporterError as error:
            _log.warning("the tables of %s are left out (%s); the stream brings them", self.host.version, error)
        if self.host.pinned:
            self._restore_vectors()
        self.board.quality = dict(self.host.current.manifest.metrics) if self.host.current else {}
        self._refresh_index()

    def follow_foundation(self) -> None:
        """Take up the foundation model's version that the registry points to; a damaged one changes nothing."""
        try:
            if self.foundation.follow():
                _log.info("foundation %s: %d items", self.foundation.version, len(self.foundation))
        except ExporterError as error:
            _log.warning("foundation: %s", error)

    def went_live(self) -> None:
        """Note that the backlog is read; take what the registry got meanwhile."""
        self.live = True  # first: an announcement that comes while the registry is read must not be passed over
        self.host.start()
        self.follow_foundation()
        self._show_version()

    async def apply_rows(self, records: list[ConsumerRecord]) -> None:
        """Apply row deltas, away from the event loop."""
        await asyncio.to_thread(self._apply_rows, records)

    async def apply_announcements(self, records: list[ConsumerRecord]) -> None:
        """Follow announcements. Those of the backlog change no model: the registry has the last word at a start."""
        for record in records:
            announcement = _announcement(record)
            if announcement is not None and announcement.name == FOUNDATION and self.live:
                await asyncio.to_thread(self.follow_foundation)
            if announcement is None or announcement.name != self.host.name:
                continue
            self.board.quality |= announcement.metrics
            if self.live:
                await asyncio.to_thread(self._follow, announcement)

    async def apply_items(self, records: list[ConsumerRecord]) -> None:
        """Keep the catalogue in step."""
        for record in records:
            self._apply_item(record)
        await asyncio.sleep(0)

    def _apply_rows(self, records: list[ConsumerRecord]) -> None:
        rows = list(_rows(records))
        applied = self.tables.apply(rows)
        self.board.counts["rows_applied"] += applied
        for row in rows:
            metrics.ROWS_APPLIED.labels(row.table).inc()
        self._refresh_index()

    def _refresh_index(self) -> None:
        rows, vectors, held = self.tables.take_changed()  # [K], [K, D], [K]
        self.index.remove(rows[~held])
        self.index.upsert(rows[held], vectors[held])

    def _follow(self, announcement: Announcement) -> None:
        result = self.host.follow(announcement)
        _log.info("%s %s: %s", announcement.kind, announcement.version, result.reason or "serves now")
        if announcement.kind == "rolled_back" and self.host.version == announcement.version:
            self._restore_vectors()
        if announcement.kind == "released":
            self.tables.thaw()
        self._refresh_index()
        self._show_version()

    def _restore_vectors(self) -> None:
        stored = self.registry.tables(self.host.name, self.host.version)
        if VECTORS in stored.arrays:
            self.tables.restore_vectors(stored.arrays[VECTORS], stored.item_ids)

    def _show_version(self) -> None:
        metrics.MODEL_VERSION.clear()
        if self.host.version:
            metrics.MODEL_VERSION.labels(self.host.version).set(1)

    def _apply_item(self, record: ConsumerRecord) -> None:
        item_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self.catalogue.withdraw(item_id)
            return
        try:
            event = decode(record.value, self._limits)
        except EventError as error:
            _log.warning("item %r is left out: %s", item_id, error)  # the worker writes the dead letter
            return
        if event.type == "item" and event.item_id is not None:
            self.catalogue.put(_item(event.item_id, event))

    def _observe(self, ages_ms: list[float]) -> None:
        for age_ms in ages_ms if self.live else ():
            metrics.WEIGHTS_FRESHNESS_SECONDS.observe(max(0.0, age_ms) / 1_000)
            self.board.weights_freshness_ms.add(max(0.0, age_ms))


def _rows(records: Iterable[ConsumerRecord]) -> Iterable[deltas.Row]:
    for record in records:
        if record.value is None:
            continue
        try:
            yield deltas.decode(record.value)
        except msgspec.DecodeError as error:
            _log.warning("row %r at offset %d cannot be read: %s", record.key, record.offset, error)


def _announcement(record: ConsumerRecord) -> Announcement | None:
    try:
        return None if record.value is None else announcements.decode(record.value)
    except msgspec.DecodeError as error:
        _log.warning("announcement at offset %d cannot be read: %s", record.offset, error)
        return None


def _item(item_id: str, event: Event) -> Item:
    return Item(
        item_id=item_id,
        title=event.title or "",
        categories=tuple(event.categories or ()),
        price=event.price,
        published_time_ms=event.published_time_ms,
        available=event.available is not False,
    )
