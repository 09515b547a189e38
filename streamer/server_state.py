"""What a server holds of the learners: tables, index, catalogue and model, moved on by the topics' records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec
from aiokafka import ConsumerRecord

from exporters import announcements, deltas, metrics
from exporters.announcements import Announcement
from exporters.assignment import Assignment
from exporters.catalogue import Catalogue, Item
from exporters.errors import ExporterError
from exporters.foundation import MODEL as FOUNDATION
from exporters.foundation import FoundationIndex
from exporters.item_tables import ItemTables
from exporters.manifest import Manifest
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.stats import Board
from exporters.students import Students
from streamer.drift.marks import note_drift
from streamer.errors import EventError
from streamer.events import Event, Limits, decode
from streamer.server_student import StudentState
from streamer.settings import Settings
from streamer.table_parity import Ask

_log = logging.getLogger(__name__)


class ServerState:
    """Students, foundation model and catalogue of one server.

    Parameters
    ----------
    settings
        Sizes, where the registry lies, and which students serve whom.
    """

    def __init__(self, settings: Settings) -> None:
        self.board = Board()
        self.registry = Registry(settings.stores.models_dir)
        self.catalogue = Catalogue()
        self.foundation = FoundationIndex(self.registry)
        shares = settings.serving.students
        self.by_name = {
            name: StudentState(name, self.registry, settings.learning, self._observe, self._ask, settings.serving)
            for name in in_order(shares)
        }
        self.send: Ask = lambda announcement: None  # set once there is a broker
        self.first = next(iter(self.by_name.values()))
        self.students = Students(
            (student.served for student in self.by_name.values()),
            Assignment(shares, settings.serving.assignment_salt),
        )
        self.live = False  # past the backlog: ages measured before that say nothing of freshness
        self._limits = Limits(**settings.events.model_dump())

    @property
    def host(self) -> ModelHost:
        """Model host of the first student."""
        return self.first.host

    @property
    def tables(self) -> ItemTables:
        """Tables of the first student."""
        return self.first.tables

    @property
    def index(self) -> VectorIndex:
        """Index of the first student."""
        return self.first.index

    def load(self) -> None:
        """Load what the registry says is current: graphs, and the tables as they were at that version."""
        self.follow_foundation()
        for student in self.by_name.values():
            student.load()
        self.board.quality = dict(self.host.current.manifest.metrics) if self.host.current else {}
        for manifest in self._published():
            self.board.timeline.begin(manifest)

    def _published(self) -> Iterator[Manifest]:
        """Manifests of the versions in the registry; one that is damaged, or pruned meanwhile, is passed over."""
        for name in self.by_name:
            for version in self.registry.versions(name):
                with suppress(ExporterError):
                    yield self.registry.manifest(name, version)

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
        for student in self.by_name.values():
            student.went_live()
        self.follow_foundation()

    async def apply_rows(self, records: list[ConsumerRecord]) -> None:
        """Apply row deltas, away from the event loop."""
        await asyncio.to_thread(self._apply_rows, records)

    async def apply_announcements(self, records: list[ConsumerRecord]) -> None:
        """Follow announcements. Those of the backlog change no model: the registry has the last word at a start."""
        for record in records:
            announcement = _announcement(record)
            if announcement is not None and announcement.name == FOUNDATION and self.live:
                await asyncio.to_thread(self.follow_foundation)
            student = self.by_name.get(announcement.name) if announcement is not None else None
            if announcement is None or student is None:
                continue
            self.board.timeline.note(announcement)
            if student is self.first:
                self.board.quality |= announcement.metrics
            if self.live:
                await asyncio.to_thread(student.follow, announcement)

    async def apply_drift(self, records: list[ConsumerRecord]) -> None:
        """Keep the latest alarms and actions of the students that are served."""
        for record in records:
            note_drift(self.board.timeline, record.value, self.by_name)
        await asyncio.sleep(0)

    async def apply_items(self, records: list[ConsumerRecord]) -> None:
        """Keep the catalogue in step."""
        for record in records:
            self._apply_item(record)
        await asyncio.sleep(0)

    def judge(self) -> None:
        """See how versions on trial do."""
        for student in self.by_name.values():
            student.judge()

    def doubts(self) -> list[str]:
        """Reasons why tables are not known to be whole; empty while they are."""
        return [reason for student in self.by_name.values() for reason in student.parity.reasons()]

    def begins_at(self, first: int, end: int) -> None:
        """Learn which offsets of the weights topic can still be read."""
        for student in self.by_name.values():
            student.begins_at(first, end)

    def _ask(self, announcement: Announcement) -> None:
        self.send(announcement)

    def _apply_rows(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            self._take(record)
        for student in self.by_name.values():
            self.board.counts["rows_applied"] += student.commit()

    def _take(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        try:
            row = deltas.decode(record.value)
        except msgspec.DecodeError as error:
            _log.warning("row %r at offset %d cannot be read: %s", record.key, record.offset, error)
            broken = self.by_name.get(deltas.model_of(record.key or b""))
            if broken is not None:
                broken.broken("checksum" if isinstance(error, deltas.ChecksumError) else "unreadable")
            return
        student = self.by_name.get(row.model)
        if student is not None:  # else a trainer whose student this server does not serve
            student.take(row)
            metrics.ROWS_APPLIED.labels(row.model, row.table).inc()

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
            self.catalogue.put(item_of(event.item_id, event))

    def _observe(self, ages_ms: list[float]) -> None:
        for age_ms in ages_ms if self.live else ():
            metrics.WEIGHTS_FRESHNESS_SECONDS.observe(max(0.0, age_ms) / 1_000)
            self.board.weights_freshness_ms.add(max(0.0, age_ms))


def in_order(names: Iterable[str]) -> list[str]:
    """Order students: the default one first, where it is served, then as they are given.

    >>> in_order(["caser", "student"])
    ['student', 'caser']
    """
    return sorted(names, key=lambda name: name != deltas.DEFAULT_MODEL)


def _announcement(record: ConsumerRecord) -> Announcement | None:
    try:
        return None if record.value is None else announcements.decode(record.value)
    except msgspec.DecodeError as error:
        _log.warning("announcement at offset %d cannot be read: %s", record.offset, error)
        return None


def item_of(item_id: str, event: Event) -> Item:
    """Turn an item event into what the server keeps of the item."""
    return Item(
        item_id=item_id,
        title=event.title or "",
        categories=tuple(event.categories or ()),
        price=event.price,
        published_time_ms=event.published_time_ms,
        available=event.available is not False,
    )
