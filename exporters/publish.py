"""Publishing the dense part: values into the exported graphs, parity, the gate, the registry, the announcement."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch import nn

from exporters.announcements import Announcement, Kind
from exporters.architectures import Architectures, architecture_key
from exporters.errors import ExporterError, GateRefused
from exporters.gate import Gate, GateReport, RecentExamples
from exporters.manifest import Manifest
from exporters.modules import frozen_copy, values_of
from exporters.onnx import with_values
from exporters.parity import TOLERANCE, ParityReport, Reference, compare
from exporters.registry import Draft, GraphFile, Registry
from exporters.runtime import RankerSession
from online_models.learner import Graph


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    file: GraphFile
    session: RankerSession
    parity: ParityReport
    module: nn.Module


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
    """

    registry: Registry
    _: KW_ONLY
    name: str = "student"
    announce: Callable[[Announcement], None] | None = None
    tolerance: float = TOLERANCE
    gate: Gate = field(default_factory=Gate)
    architectures: Architectures = field(init=False)
    _served: tuple[str, dict[str, RankerSession]] = field(default=("", {}), init=False, repr=False)

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
            report = self._shadow(prepared, checks)
        except GateRefused as refusal:
            reason = f"{refusal.reason}: {refusal}"
            self._tell(Announcement(name=self.name, kind="refused", reason=reason, step=step, time_ms=_now_ms()))
            raise
        draft = Draft(
            name=self.name, step=step, tables=tables, item_ids=item_ids, meta=meta, metrics=metrics, offsets=offsets,
            graphs={name: item.file for name, item in prepared.items()},
            parity={name: item.parity.max_abs for name, item in prepared.items()}, gate=report.as_dict(),
        )  # fmt: skip
        written = self.registry.publish(draft)
        self._remember(written, prepared)
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
        session = RankerSession(content)
        reference = Reference(module=module, inputs=graph.inputs, outputs=graph.outputs)
        file = GraphFile(content=content, architecture=key, inputs=exported.inputs, outputs=exported.outputs)
        return _Prepared(file=file, session=session, parity=compare(reference, session, self.tolerance), module=module)

    def _shadow(self, prepared: Mapping[str, _Prepared], checks: RecentExamples | None) -> GateReport:
        if checks is None or checks.graph not in prepared:
            return GateReport(note="no recent examples were given")
        return self.gate.check_outputs(checks, prepared[checks.graph].session, self._serving(checks.graph))

    def _serving(self, graph: str) -> RankerSession | None:
        """Give the graph that serves now, loaded once a version."""
        pointer = self.registry.current(self.name)
        if pointer is None:
            return None
        if self._served[0] != pointer.version:
            self._served = (pointer.version, self._load(pointer.version))
        return self._served[1].get(graph)

    def _load(self, version: str) -> dict[str, RankerSession]:
        folder = self.registry.folder(self.name, version)
        try:
            held = self.registry.verify(self.name, version)
            return {name: RankerSession((folder / info.file).read_bytes()) for name, info in held.graphs.items()}
        except (ExporterError, OSError):  # a damaged version is no measure for a new one
            return {}

    def _remember(self, written: Manifest, prepared: Mapping[str, _Prepared]) -> None:
        pointer = self.registry.current(self.name)
        if pointer is not None and pointer.version == written.version:
            self._served = (written.version, {name: item.session for name, item in prepared.items()})

    def _tell(self, announcement: Announcement) -> None:
        if self.announce is not None:
            self.announce(announcement)


def announcement_of(registry: Registry, version: Manifest, kind: Kind, reason: str = "") -> Announcement:
    """Announce a version that lies in the registry."""
    return Announcement(
        name=version.name, kind=kind, version=version.version, path=str(registry.folder(version.name, version.version)),
        sha256=registry.manifest_sha256(version.name, version.version), step=version.step, metrics=version.metrics,
        offsets=version.offsets, reason=reason, time_ms=_now_ms(),
    )  # fmt: skip


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
