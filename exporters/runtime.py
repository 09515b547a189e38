"""The version that a server holds, swapped while it serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from exporters.announcements import Announcement
from exporters.errors import ExporterError, RuntimeLoadError
from exporters.manifest import Manifest
from exporters.precision import Precision, int8_name, is_int8
from exporters.registry import Registry
from exporters.session import Execution, Feeds
from exporters.session import RankerSession as RankerSession


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
    current: the one before stays. Every graph has answered once before it serves, so no request pays for the first run.
    With ``precision`` int8 the int8 form of a graph serves where the version has one (:mod:`exporters.quantize`).
    A host that was rolled back is pinned: it ignores newer versions until released.
    """

    registry: Registry
    name: str = "student"
    execution: Execution = field(default_factory=Execution)
    precision: Precision = "float32"
    warm_up: Mapping[str, Feeds] = field(default_factory=dict)
    current: LoadedModel | None = field(default=None, init=False)
    previous: LoadedModel | None = field(default=None, init=False)
    pinned: bool = field(default=False, init=False)
    _ahead: LoadedModel | None = field(default=None, init=False, repr=False)
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
        result = self._swap_to(pointer.version, tables=pointer.pinned)
        for version in reversed(self.registry.versions(self.name)):
            if self.current is not None:
                break
            fallback = self._swap_to(version, tables=pointer.pinned)
            result = (
                replace(fallback, reason=f"{result.reason}; {version} serves instead") if fallback.swapped else result
            )
        return result

    def follow(self, announcement: Announcement) -> SwapResult:
        """Act on an announcement: a new version, a rollback (which pins), or the release of a pin."""
        if announcement.name != self.name or not announcement.moves_servers:
            return self._kept(f"{announcement.kind} {announcement.name} is not for this host")
        if announcement.kind == "published":
            return self.swap(announcement.version)
        if announcement.kind == "rolled_back":
            return self.rollback(announcement.version)
        self.release()
        return self._swap_to(announcement.version, tables=False)

    def swap(self, target: Manifest | str) -> SwapResult:
        """Load a newer version, prove that it answers, then switch. A failure keeps the one before and says why."""
        if self.pinned:
            return self._kept("the host is pinned by a rollback; release it first")
        return self._swap_to(target if isinstance(target, str) else target.version, tables=False)

    def rollback(self, version: str | None = None) -> SwapResult:
        """Go back to ``version``, or to the one before, and stay there until :meth:`release`."""
        with self._lock:
            if version is None:
                if self.previous is None:
                    return self._kept("there is no earlier version in memory; name one")
                version = self.previous.version
            result = self._swap_to(version, tables=True)
            self.pinned = self.pinned or result.version == version
            return result

    def load_ahead(self, version: str) -> None:
        """Load a version that is about to serve, so that its switch takes no time; a damaged one says so then.

        Its tables are left to whoever reads them.
        """
        with self._lock, suppress(ExporterError, OSError):
            if self.version != version:
                self._ahead = self._loaded(version, tables=False)

    def prepare(self, version: str) -> LoadedModel:
        """Load a version beside the one that serves; raises where it is damaged or does not answer."""
        with self._lock:
            return self._loaded(version, tables=False)

    def take(self, model: LoadedModel) -> None:
        """Serve a version that was prepared."""
        with self._lock:
            if self.version != model.version:
                self.previous, self.current = self.current, model

    def release(self) -> None:
        """Take newer versions again."""
        self.pinned = False

    def _swap_to(self, version: str, *, tables: bool) -> SwapResult:
        started = time.perf_counter()
        with self._lock:
            if self.current is not None and self.current.version == version:
                return self._kept("it serves already")
            try:
                loaded = self._loaded(version, tables=tables)
            except (ExporterError, OSError) as error:
                return self._kept(str(error))
            self.previous, self.current = self.current, loaded
        return SwapResult(swapped=True, version=version, took_ms=1_000 * (time.perf_counter() - started))

    def _loaded(self, version: str, *, tables: bool) -> LoadedModel:
        for held in (self.previous, self._ahead):
            if held is not None and held.version == version:
                self._ahead = None
                return held
        manifest = self.registry.verify(self.name, version, tables=tables)
        folder = self.registry.folder(self.name, version)
        sessions = {
            name: RankerSession((folder / manifest.graphs[stored].file).read_bytes(), self.execution)
            for name, stored in self._chosen(manifest).items()
        }
        for session in sessions.values():
            session.warm_up()
        for name, feeds in self.warm_up.items():
            _warm(name, sessions, feeds)
        return LoadedModel(manifest=manifest, sessions=sessions, loaded_ms=time.time_ns() // 1_000_000)

    def _chosen(self, manifest: Manifest) -> dict[str, str]:
        """Graphs by name, and under which name the version holds each in the precision that was asked for."""
        names = [name for name in manifest.graphs if not is_int8(name)]
        wanted = {name: int8_name(name) for name in names if self.precision == "int8"}
        return {name: wanted[name] if wanted.get(name) in manifest.graphs else name for name in names}

    def _kept(self, reason: str) -> SwapResult:
        return SwapResult(swapped=False, version=self.version, reason=reason)


def _warm(name: str, sessions: Mapping[str, RankerSession], feeds: Feeds) -> None:
    if name not in sessions:
        raise RuntimeLoadError(f"the version has no graph {name!r}, which this server needs; it has {sorted(sessions)}")
    for output, values in sessions[name].run(feeds).items():
        if np.isnan(values).any():
            raise RuntimeLoadError(f"graph {name!r} answers NaN in {output!r} to the warm-up inputs")
