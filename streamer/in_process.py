"""The whole loop in one process and without a broker: events in, lists out, each part the one that the processes run.

Sessions and joins are the worker's pipeline, learning is the trainer's student, lists come from the server's ranking
path. Only the transport is missing: what would travel over Kafka is handed over, and the network's graphs run in torch
instead of ONNX Runtime (every published version is checked for parity of the two).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.asks import Ask
from exporters.catalogue import Catalogue
from exporters.contracts import Session
from exporters.item_tables import ItemTables
from exporters.manifest import Manifest
from exporters.ranking import RankingPath
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.row_catalog import UNKNOWN_ROW
from exporters.runtime import LoadedModel, ModelHost, RankerSession
from exporters.services import Services
from exporters.slates import Slate
from exporters.twins import MemoryDoor
from feature_store.user_state import ItemInfo
from feature_store.vectors import ITEM_NAMES
from online_models.learner import Graph
from online_models.sources import TABLES
from streamer import examples
from streamer.effects import Effects, Record
from streamer.events import Event, encode
from streamer.examples import Example
from streamer.item_reader import info_of
from streamer.pipeline import SessionPipeline
from streamer.server_sessions import session_of
from streamer.server_settings import limits_of
from streamer.server_state import item_of
from streamer.settings import Settings
from streamer.state import PartitionState, state_path
from streamer.student import Student
from streamer.topics import EXAMPLES

_MOST_ROWS = 1_000_000  # of a table, taken at once


class InProcess:
    """Takes events in order, learns them in micro-batches, and answers what would be served at any moment.

    Lists are as fresh as they can be: sessions know every event, models every full micro-batch.

    Parameters
    ----------
    settings
        As the processes read them.
    folder
        Of the session state.
    catalogue
        Events of type ``item``.
    """

    def __init__(self, settings: Settings, folder: Path, catalogue: Iterable[Event] = ()) -> None:
        self.settings = settings
        self.student = Student(settings)
        self._items: dict[str, ItemInfo] = {}
        self._waiting: list[Example] = []
        self._state = PartitionState(state_path(folder, 0))
        self._pipeline = SessionPipeline(0, self._state, self._items, settings)
        self._services = _services(settings, folder, _Sessions(self._state), self.student)
        self._path = RankingPath(self._services)
        for event in catalogue:
            self._describe(event)

    def close(self) -> None:
        """Close the session state."""
        self._state.close()

    def take(self, event: Event) -> None:
        """Let an event happen; slates whose window has passed by then are closed first."""
        self._commit(self._pipeline.sweep(event.event_time_ms))
        record = Record(self._state.applied.offset + 1, event.event_time_ms, None, encode(event))
        self._commit(self._pipeline.process([record]))
        size = self.settings.learning.batch_examples
        while len(self._waiting) >= size:
            self._learn(self._waiting[:size])
            self._waiting = self._waiting[size:]

    def rank(self, ask: Ask, now_ms: int) -> Slate:
        """Answer a request as the server would at a moment of event time."""
        return self._path.rank(ask, now_ms)

    def session(self, user_id: str, now_ms: int) -> Session:
        """Return what the server knows of a user."""
        return self._services.store.read(user_id, now_ms)

    def has_row(self, item_id: str) -> bool:
        """Whether the learners have met an item."""
        return self._services.tables.row(item_id) > UNKNOWN_ROW

    def _describe(self, event: Event) -> None:
        item_id = event.item_id or ""
        self._items[item_id] = info_of(item_id, event)
        self._services.catalogue.put(item_of(item_id, event))
        self.student.describe(self._items[item_id])

    def _commit(self, effects: Effects | None) -> None:
        if effects is None:
            return
        self._state.commit(effects)
        self._state.mark_delivered(effects.after.commit)
        written = [message.value for message in effects.messages if message.topic == EXAMPLES.name]
        self._waiting += [examples.decode(value) for value in written]

    def _learn(self, batch: list[Example]) -> None:
        self.student.learn(batch)
        self.student.release_moved()
        tables, index = self._services.tables, self._services.index
        tables.apply(self.student.take_rows(_MOST_ROWS))
        rows, vectors, held = tables.take_changed()  # [K], [K, D], [K]
        index.remove(rows[~held])
        index.upsert(rows[held], vectors[held])


class _Sessions:
    """The server's sessions, read from the worker's own state."""

    remote = False

    def __init__(self, state: PartitionState) -> None:
        self._state = state

    def read(self, user_id: str, now_ms: int) -> Session:
        return session_of(self._state.load([user_id])[user_id].user, now_ms)


class _TorchGraph:
    """A graph with the interface of :class:`RankerSession`, run where it is."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @torch.no_grad()
    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        module, training = self._graph.module, self._graph.module.training
        module.eval()
        values = module(**{name: torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self._graph.inputs})
        module.train(training)
        found = values if isinstance(values, tuple) else (values,)
        return {name: value.numpy() for name, value in zip(self._graph.outputs, found, strict=True)}


def _services(settings: Settings, folder: Path, store: _Sessions, student: Student) -> Services:
    learning = settings.learning
    host = ModelHost(registry=Registry(folder / "models"))
    graphs = {name: _TorchGraph(graph) for name, graph in student.network.ranker.graphs().items()}
    manifest = Manifest(name=host.name, version="in-process", number=0, created_ms=0, step=0, graphs={}, files={})
    host.current = LoadedModel(manifest=manifest, sessions=cast(dict[str, RankerSession], graphs), loaded_ms=0)
    return Services(
        store=store,
        door=MemoryDoor(),
        host=host,
        tables=ItemTables(learning.catalog_rows, learning.dimension, len(ITEM_NAMES), TABLES, learning.neighbours),
        index=VectorIndex(learning.dimension),
        catalogue=Catalogue(),
        # The graphs run where they learn: what was encoded before a step says nothing after it.
        limits=replace(limits_of(settings), session_states_bytes=0),
    )
