"""Graphs in ONNX Runtime: one graph by itself, and the version that a server holds, swapped while it serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporters.announcements import Announcement
from exporters.errors import ExporterError, RuntimeLoadError
from exporters.manifest import Manifest
from exporters.registry import Registry

Feeds = Mapping[str, NDArray[Any]]


class RankerSession:
    """One graph, ready to answer; safe to call from many threads.

    Parameters
    ----------
    model
        The bytes of the graph, or where it lies.
    threads
        Threads that one call may use. They sleep between calls.

    Raises
    ------
    RuntimeLoadError
        When ONNX Runtime cannot load the graph.
    """

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = _open(model if isinstance(model, bytes) else str(model), options)
        self.inputs = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self.outputs = tuple(value.name for value in self._session.get_outputs())
        self.provider: str = self._session.get_providers()[0]

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Compute the outputs by name; feeds that the graph does not know are left out.

        Raises
        ------
        RuntimeLoadError
            When an input is missing, or has a type or a shape that the graph does not take.
        """
        missing = self.inputs.keys() - feeds.keys()
        if missing:
            raise RuntimeLoadError(f"inputs {sorted(missing)} are missing; the graph takes {sorted(self.inputs)}")
        try:
            values = self._session.run(None, {name: feeds[name] for name in self.inputs})
        except Exception as error:  # ONNX Runtime raises bare exceptions of its own
            raise RuntimeLoadError(f"the graph did not run: {error}") from error
        return dict(zip(self.outputs, values, strict=True))


def _open(model: bytes | str, options: Any) -> Any:
    """Open a session, on CUDA where it is there and works."""
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    error: Exception | None = None
    for choice in dict.fromkeys((tuple(providers), ("CPUExecutionProvider",))):
        try:
            return onnxruntime.InferenceSession(model, options, providers=list(choice))
        except Exception as failure:  # ONNX Runtime raises bare exceptions of its own
            error = failure
    raise RuntimeLoadError(f"ONNX Runtime could not load the graph: {error}") from error


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A version in memory."""

    manifest: Manifest
    sessions: Mapping[str, RankerSession]
    loaded_ms: int

    @property
    def version(self) -> str:
        """The version's name."""
        return self.manifest.version


@dataclass(frozen=True, kw_only=True)
class SwapResult:
    """What came of a swap: the version that serves now and, where nothing changed, why."""

    swapped: bool
    version: str
    reason: str = ""
    took_ms: float = 0.0


@dataclass(kw_only=True)
class ModelHost:
    """The version that serves. Readers take :attr:`current` once per request; writers replace it whole.

    ``warm_up`` holds feeds by graph name. A version that is damaged, does not load or answers NaN to them never becomes
    current: the one before stays. A host that was rolled back is pinned: it ignores newer versions until released.
    """

    registry: Registry
    name: str = "student"
    threads: int = 1
    warm_up: Mapping[str, Feeds] = field(default_factory=dict)
    current: LoadedModel | None = field(default=None, init=False)
    previous: LoadedModel | None = field(default=None, init=False)
    pinned: bool = field(default=False, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    @property
    def version(self) -> str:
        """The version that serves; empty before the first."""
        return self.current.version if self.current else ""

    @property
    def age_seconds(self) -> float:
        """Seconds since the version that serves was published; 0 before the first."""
        return max(0.0, time.time() - self.current.manifest.created_ms / 1_000) if self.current else 0.0

    def start(self) -> SwapResult:
        """Load what the registry says is current, with its pin; where that is damaged, the newest that is whole."""
        pointer = self.registry.current(self.name)
        if pointer is None:
            return self._kept(f"nothing is published under {self.name!r} yet")
        self.pinned = pointer.pinned
        result = self._swap_to(pointer.version)
        for version in reversed(self.registry.versions(self.name)):
            if self.current is not None:
                break
            fallback = self._swap_to(version)
            result = (
                replace(fallback, reason=f"{result.reason}; {version} serves instead") if fallback.swapped else result
            )
        return result

    def follow(self, announcement: Announcement) -> SwapResult:
        """Act on an announcement: a new version, a rollback (which pins), or the release of a pin."""
        if announcement.name != self.name or announcement.kind in ("refused", "asked"):
            return self._kept(f"{announcement.kind} {announcement.name} is not for this host")
        if announcement.kind == "published":
            return self.swap(announcement.version)
        if announcement.kind == "rolled_back":
            return self.rollback(announcement.version)
        self.release()
        return self._swap_to(announcement.version)

    def swap(self, target: Manifest | str) -> SwapResult:
        """Load a newer version, prove that it answers, then switch. A failure keeps the one before and says why."""
        if self.pinned:
            return self._kept("the host is pinned by a rollback; release it first")
        return self._swap_to(target if isinstance(target, str) else target.version)

    def rollback(self, version: str | None = None) -> SwapResult:
        """Go back to ``version``, or to the one before, and stay there until :meth:`release`."""
        with self._lock:
            if version is None:
                if self.previous is None:
                    return self._kept("there is no earlier version in memory; name one")
                version = self.previous.version
            result = self._swap_to(version)
            self.pinned = self.pinned or result.version == version
            return result

    def release(self) -> None:
        """Take newer versions again."""
        self.pinned = False

    def _swap_to(self, version: str) -> SwapResult:
        started = time.perf_counter()
        with self._lock:
            if self.current is not None and self.current.version == version:
                return self._kept("it serves already")
            try:
                loaded = self._loaded(version)
            except (ExporterError, OSError) as error:
                return self._kept(str(error))
            self.previous, self.current = self.current, loaded
        return SwapResult(swapped=True, version=version, took_ms=1_000 * (time.perf_counter() - started))

    def _loaded(self, version: str) -> LoadedModel:
        if self.previous is not None and self.previous.version == version:
            return self.previous
        manifest = self.registry.verify(self.name, version)
        folder = self.registry.folder(self.name, version)
        sessions = {
            name: RankerSession((folder / info.file).read_bytes(), self.threads)
            for name, info in manifest.graphs.items()
        }
        for name, feeds in self.warm_up.items():
            _warm(name, sessions, feeds)
        return LoadedModel(manifest=manifest, sessions=sessions, loaded_ms=time.time_ns() // 1_000_000)

    def _kept(self, reason: str) -> SwapResult:
        return SwapResult(swapped=False, version=self.version, reason=reason)


def _warm(name: str, sessions: Mapping[str, RankerSession], feeds: Feeds) -> None:
    if name not in sessions:
        raise RuntimeLoadError(f"the version has no graph {name!r}, which this server needs; it has {sorted(sessions)}")
    for output, values in sessions[name].run(feeds).items():
        if np.isnan(values).any():
            raise RuntimeLoadError(f"graph {name!r} answers NaN in {output!r} to the warm-up inputs")
