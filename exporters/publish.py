"""Publishing the dense part: values into the exported graphs, parity, the gate, the registry, the announcement."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from exporters.announcements import Announcement, announcement_of
from exporters.architectures import Architectures, architecture_key
from exporters.deltas import VECTORS
from exporters.errors import ExporterError, GateRefused
from exporters.gate import Gate, GateReport, RecentExamples
from exporters.manifest import Manifest
from exporters.modules import frozen_copy, values_of
from exporters.onnx import with_values
from exporters.parity import TOLERANCE, ParityReport, Reference, compare
from exporters.precision import is_int8
from exporters.quantize import Int8Forms, Plain, int8_forms
from exporters.registry import Draft, GraphFile, Registry
from exporters.session import Execution, RankerSession
from online_models.learner import Graph

_ON_THE_CPU = Execution(providers=("CPU",))  # what is judged must not depend on who judges


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    file: GraphFile
    session: RankerSession
    parity: ParityReport
    module: nn.Module


@dataclass(frozen=True, kw_only=True)
class _Served:
    """The version that new ones are compared with."""

    version: str = ""
    sessions: Mapping[str, RankerSession] = field(default_factory=dict)
    vectors: NDArray[np.float32] | None = None  # [R, D]


@dataclass
class DensePublisher:
    """Publishes a learner's graphs as versions of ``name``.

    Parameters
    ----------
    registry
        Where versions go.
    announce
        Called with every announcement, of a version and of a refusal; sends it to ``headwater.models``.
    tolerance
        Largest difference between torch and ONNX Runtime (see :class:`exporters.parity.ParityReport`).
    gate
        What is refused.
    int8
        Publish an int8 form beside each graph, where it ranks no worse (:mod:`exporters.quantize`).
    """

    registry: Registry
    _: KW_ONLY
    name: str = "student"
    announce: Callable[[Announcement], None] | None = None
    tolerance: float = TOLERANCE
    gate: Gate = field(default_factory=Gate)
    int8: bool = False
    architectures: Architectures = field(init=False)
    _served: _Served = field(default_factory=_Served, init=False, repr=False)

    def __post_init__(self) -> None:
        """Open the cache of exported graphs beside the versions."""
        self.architectures = Architectures(self.registry.architectures_dir)

    def publish(
        self,
        graphs: Mapping[str, Graph],
        tables: Mapping[str, NDArray[Any]],
        item_ids: list[str | None],
        meta: Mapping[str, Any],
        metrics: Mapping[str, float],
        offsets: Mapping[str, Any],
        step: int,
        checks: RecentExamples | None = None,
        epoch: int = 0,
    ) -> Manifest:
        """Publish a version.

        Parameters
        ----------
        graphs
            Named computations; their current values are published.
        tables
            ``item_vectors`` [R, D], ``item_features`` [R, G], ``<source>.items`` and ``<source>.weights`` [R, M].
        item_ids
            The id of every row, None where there is none.
        meta
            Whatever a server must know to use the version (vocabularies, names of features and sources).
        metrics, offsets, step
            Quality, positions in the source topics, learned examples.
        checks
            Recent examples for the gate; without them only weights and parity are checked.
        epoch
            Which start of the learner this is (:func:`exporters.deltas.stamp_of`).

        Raises
        ------
        GateRefused
            When the model must not serve; the refusal has been announced, and what serves goes on serving.
        ExportError
            When a graph cannot be exported at all.
        """
        try:
            prepared = {name: self._prepare(name, graph) for name, graph in graphs.items()}
            self.gate.check_finite(tables, "tables")
            self.gate.check_values({name: table for name, table in tables.items() if name == VECTORS})
            report = self._shadow(prepared, checks, tables)
            smaller = self._int8(prepared, graphs, checks, tables)
        except GateRefused as refusal:
            reason = f"{refusal.reason}: {refusal}"
            self._tell(Announcement(name=self.name, kind="refused", reason=reason, step=step, time_ms=_now_ms()))
            raise
        draft = Draft(
            name=self.name, epoch=epoch, step=step, tables=tables, item_ids=item_ids, meta=meta, metrics=metrics,
            offsets=offsets,
            graphs={name: item.file for name, item in prepared.items()} | smaller.files,
            parity={name: item.parity.max_abs for name, item in prepared.items()} | smaller.parity,
            gate=report.as_dict() | ({"int8": smaller.note} if smaller.note else {}),
        )  # fmt: skip
        written = self.registry.publish(draft)
        self._remember(written, prepared, tables)
        self._tell(announcement_of(self.registry, written, "published"))
        return written

    def _prepare(self, name: str, graph: Graph) -> _Prepared:
        module = frozen_copy(graph.module)
        # Parameters only: a buffer may well hold minus infinity (a mask).
        self.gate.check_values({key: weight.float().numpy() for key, weight in module.named_parameters()})
        key = architecture_key(graph, module)
        known = self.architectures.exports
        prepared = self._filled(key, graph, module)
        if not prepared.parity.passed and self.architectures.exports == known:
            # The graph was traced by code that has changed in a way that the key does not see: trace it again, once.
            self.architectures.fresh(key, graph, module)
            prepared = self._filled(key, graph, module)
        if not prepared.parity.passed:
            raise GateRefused("parity", f"graph {name!r}: torch and ONNX Runtime disagree: {prepared.parity}")
        return prepared

    def _filled(self, key: str, graph: Graph, module: nn.Module) -> _Prepared:
        exported = self.architectures.get(key, graph, module)
        content = with_values(exported, values_of(module))
        session = RankerSession(content, _ON_THE_CPU)
        reference = Reference(module=module, inputs=graph.inputs, outputs=graph.outputs)
        file = GraphFile(content=content, architecture=key, inputs=exported.inputs, outputs=exported.outputs)
        return _Prepared(file=file, session=session, parity=compare(reference, session, self.tolerance), module=module)

    def _shadow(
        self, prepared: Mapping[str, _Prepared], checks: RecentExamples | None, tables: Mapping[str, NDArray[Any]]
    ) -> GateReport:
        if checks is None or checks.graph not in prepared:
            return GateReport(note="no recent examples were given")
        session, serving = prepared[checks.graph].session, self._serving(checks.graph)
        return self.gate.check_outputs(checks, session, serving, tables.get(VECTORS), self._served.vectors)

    def _int8(
        self,
        prepared: Mapping[str, _Prepared],
        graphs: Mapping[str, Graph],
        checks: RecentExamples | None,
        tables: Mapping[str, NDArray[Any]],
    ) -> Int8Forms:
        if not self.int8:
            return Int8Forms()
        plain = {
            name: Plain(
                file=item.file,
                session=item.session,
                reference=Reference(module=item.module, inputs=graphs[name].inputs, outputs=graphs[name].outputs),
            )
            for name, item in prepared.items()
        }
        return int8_forms(plain, self.gate, checks, tables.get(VECTORS))

    def _serving(self, graph: str) -> RankerSession | None:
        """Give the graph that serves now, loaded once a version."""
        pointer = self.registry.current(self.name)
        if pointer is None:
            return None
        if self._served.version != pointer.version:
            self._served = self._load(pointer.version)
        return self._served.sessions.get(graph)

    def _load(self, version: str) -> _Served:
        folder = self.registry.folder(self.name, version)
        try:
            held = self.registry.verify(self.name, version, tables=False)  # they are when they are read, below
            sessions = {
                name: RankerSession((folder / info.file).read_bytes(), _ON_THE_CPU)
                for name, info in held.graphs.items()
                if not is_int8(name)
            }
            vectors = self.registry.tables(self.name, version).arrays.get(VECTORS)
        except (ExporterError, OSError):  # a damaged version is no measure for a new one
            return _Served(version=version)
        return _Served(version=version, sessions=sessions, vectors=vectors)

    def _remember(
        self, written: Manifest, prepared: Mapping[str, _Prepared], tables: Mapping[str, NDArray[Any]]
    ) -> None:
        pointer = self.registry.current(self.name)
        if pointer is not None and pointer.version == written.version:
            sessions = {name: item.session for name, item in prepared.items()}
            self._served = _Served(version=written.version, sessions=sessions, vectors=tables.get(VECTORS))

    def _tell(self, announcement: Announcement) -> None:
        if self.announce is not None:
            self.announce(announcement)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
