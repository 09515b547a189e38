"""The model registry: one folder a version, checksums, a pointer to what serves, and the way back.

::

    <directory>/architectures/<hash>/graph.onnx, bindings.json      graphs without values (exporters.architectures)
    <directory>/versions/<name>/current.json                        the pointer
    <directory>/versions/<name>/hold.json, trial.json, epoch.json   publishing on hold, a canary, the trainer's starts
    <directory>/versions/<name>/<version>/manifest.json, <graph>.onnx, tables.safetensors
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from exporters import files, manifest
from exporters.errors import RegistryError
from exporters.manifest import Epoch, GraphInfo, Hold, Manifest, Pointer, Trial
from exporters.version_tables import VersionTables, pack, read

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"(\d{6,})-[0-9a-f]{8}")
_HOLD, _TRIAL, _EPOCH = "hold.json", "trial.json", "epoch.json"
_EPOCH_ORIGIN = 1_767_225_600  # 2026-01-01 in seconds: an epoch must fit 31 bits


@dataclass(frozen=True, kw_only=True)
class GraphFile:
    """One graph to be published."""

    content: bytes
    architecture: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A version before it has a number."""

    name: str
    graphs: Mapping[str, GraphFile]
    step: int
    epoch: int = 0
    tables: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    item_ids: list[str | None] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, float] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


class Registry:
    """Versions on disk. Several processes may read, write and roll back at once.

    Parameters
    ----------
    directory
        Where everything lies.
    keep
        How many versions of a name are kept; the one that serves is never retired.
    """

    def __init__(self, directory: Path | str, keep: int = 10) -> None:
        if keep < 2:
            raise RegistryError(f"keep is {keep}; at least 2 versions must stay, or there is nothing to roll back to")
        self.directory = Path(directory)
        self.keep = keep

    @property
    def architectures_dir(self) -> Path:
        """Graphs without values, one folder an architecture."""
        return self.directory / "architectures"

    def names(self) -> list[str]:
        """Names that have versions."""
        folder = self.directory / "versions"
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def versions(self, name: str) -> list[str]:
        """Versions of a name, oldest first, whole or not."""
        folder = self._home(name)
        found = [entry.name for entry in folder.iterdir() if _VERSION.fullmatch(entry.name)] if folder.is_dir() else []
        return sorted(found, key=_number)

    def folder(self, name: str, version: str) -> Path:
        """Where a version lies."""
        if not _VERSION.fullmatch(version):
            raise RegistryError(f"{version!r} is no version; versions of {name!r}: {self._listed(name)}")
        return self._home(name) / version

    def publish(self, draft: Draft) -> Manifest:
        """Write a version and, unless a rollback pinned another, point to it. Old versions retire."""
        contents = {f"{graph}.onnx": item.content for graph, item in draft.graphs.items()}
        contents[manifest.TABLES_FILE] = pack(draft.tables, draft.item_ids)
        with files.exclusive(self._home(draft.name) / ".lock"):
            written = _manifest(draft, contents, self._next_number(draft.name))
            folder = self.folder(draft.name, written.version)
            files.write_folder(folder, {**contents, manifest.FILE: manifest.encode(written)})
            pointer = self.current(draft.name)
            if pointer is None or not pointer.pinned:
                self._point(draft.name, Pointer(version=written.version, time_ms=written.created_ms))
            self._retire(draft.name)
        return written

    def manifest(self, name: str, version: str) -> Manifest:
        """Read what a version says of itself, without looking at its files."""
        path = self.folder(name, version) / manifest.FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise RegistryError(f"{name} has no version {version}; it has {self._listed(name)}") from None
        except msgspec.DecodeError as error:
            raise RegistryError(f"{path} is damaged ({error}); roll back to another version") from None

    def verify(self, name: str, version: str, *, tables: bool = True) -> Manifest:
        """Read a version's manifest and check the checksum of every file.

        Parameters
        ----------
        name, version
            Of the model.
        tables
            Whether its tables are checked too, which may be large: :meth:`tables` checks them whenever they are read.

        Raises
        ------
        RegistryError
            Naming the file that is missing or damaged.
        """
        found = self.manifest(name, version)
        for file, expected in found.files.items():
            if file == manifest.TABLES_FILE and not tables:
                continue
            path = self.folder(name, version) / file
            if not path.is_file():
                raise RegistryError(f"{path} is missing; roll back to another version")
            if files.sha256_of(path) != expected:
                raise RegistryError(
                    f"{path} is damaged: its sha256 is not the manifest's; roll back to another version"
                )
        return found

    def manifest_sha256(self, name: str, version: str) -> str:
        """Checksum of the manifest itself, as announced."""
        return files.sha256((self.folder(name, version) / manifest.FILE).read_bytes())

    def tables(self, name: str, version: str) -> VersionTables:
        """Tables of a version, after a check."""
        self.verify(name, version)
        return read(self.folder(name, version) / manifest.TABLES_FILE)

    def current(self, name: str) -> Pointer | None:
        """Which version serves; None before the first is published."""
        path = self._home(name) / "current.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Pointer)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise RegistryError(
                f"{path} is damaged ({error}); `headwater rollback` to a version writes it anew"
            ) from None

    def rollback(self, name: str, to: str | None = None, reason: str = "") -> Pointer:
        """Point to ``to``, or to the newest whole version before the one that serves, and pin it.

        Raises
        ------
        RegistryError
            When there is no such version, or it is damaged.
        """
        with files.exclusive(self._home(name) / ".lock"):
            version = to if to is not None else self._before_current(name)
            self.verify(name, version)
            return self._point(name, Pointer(version=version, pinned=True, reason=reason, time_ms=_now_ms()))

    def release(self, name: str) -> Pointer:
        """Lift the pin and point to the newest whole version."""
        with files.exclusive(self._home(name) / ".lock"):
            return self._point(name, Pointer(version=self._newest_whole(name, self.versions(name)), time_ms=_now_ms()))

    def hold(self, name: str, reason: str = "") -> Hold:
        """Put publishing on hold until :meth:`lift`; what serves goes on serving."""
        with files.exclusive(self._home(name) / ".lock"):
            held = Hold(reason=reason, time_ms=_now_ms())
            files.write_file(self._home(name) / _HOLD, manifest.encode(held))
            return held

    def lift(self, name: str) -> bool:
        """End a hold; returns whether there was one."""
        with files.exclusive(self._home(name) / ".lock"):
            there = self.held(name) is not None
            (self._home(name) / _HOLD).unlink(missing_ok=True)
            return there

    def held(self, name: str) -> Hold | None:
        """Say whether publishing is on hold, and why. A hold that cannot be read holds all the same."""
        try:
            return msgspec.json.decode((self._home(name) / _HOLD).read_bytes(), type=Hold)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            return Hold(reason=f"{self._home(name) / _HOLD} is damaged ({error}); `headwater rollback --release`")

    def note_trial(self, name: str, trial: Trial | None) -> None:
        """Note which version is on trial, so that it and its forerunner stay; None when the trial is over."""
        with files.exclusive(self._home(name) / ".lock"):
            if trial is None:
                (self._home(name) / _TRIAL).unlink(missing_ok=True)
            else:
                files.write_file(self._home(name) / _TRIAL, manifest.encode(trial))

    def trial(self, name: str) -> Trial | None:
        """Say which version is on trial; None without one."""
        try:
            return msgspec.json.decode((self._home(name) / _TRIAL).read_bytes(), type=Trial)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def next_epoch(self, name: str) -> int:
        """Count a start of the trainer. It grows even where the clock has gone back, and where this folder was lost."""
        with files.exclusive(self._home(name) / ".lock"):
            path = self._home(name) / _EPOCH
            try:
                last = msgspec.json.decode(path.read_bytes(), type=Epoch).epoch
            except (FileNotFoundError, msgspec.DecodeError):
                last = 0
            epoch = max(last + 1, int(time.time()) - _EPOCH_ORIGIN)
            files.write_file(path, manifest.encode(Epoch(epoch=epoch)))
            return epoch

    def newest(self, name: str) -> tuple[Manifest, VersionTables] | None:
        """Read the tables of the newest whole version, whatever serves; None where there is none."""
        for version in reversed(self.versions(name)):
            try:
                return self.manifest(name, version), self.tables(name, version)
            except RegistryError:
                continue
        return None

    def _home(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise RegistryError(f"{name!r} is no model name; letters, digits, '.', '_' and '-' are allowed")
        return self.directory / "versions" / name

    def _next_number(self, name: str) -> int:
        numbers = [_number(version) for version in self.versions(name)]
        return 1 + max(numbers, default=0)

    def _point(self, name: str, pointer: Pointer) -> Pointer:
        files.write_file(self._home(name) / "current.json", manifest.encode(pointer))
        return pointer

    def _retire(self, name: str) -> None:
        pointer, trial = self.current(name), self.trial(name)
        kept = {pointer.version} if pointer is not None else set()
        kept |= {trial.version, trial.stable} if trial is not None else set()
        for version in self.versions(name)[: -self.keep]:
            if version not in kept:
                files.remove_folder(self.folder(name, version))

    def _before_current(self, name: str) -> str:
        pointer = self.current(name)
        if pointer is None:
            raise RegistryError(f"nothing is published under {name!r}; models: {', '.join(self.names()) or 'none'}")
        return self._newest_whole(name, [v for v in self.versions(name) if _number(v) < _number(pointer.version)])

    def _newest_whole(self, name: str, versions: list[str]) -> str:
        for version in reversed(versions):
            try:
                return self.verify(name, version).version
            except RegistryError:
                continue
        raise RegistryError(f"{name} has no whole version to go to; it has {self._listed(name)}")

    def _listed(self, name: str) -> str:
        return ", ".join(self.versions(name)) or "none"


def _number(version: str) -> int:
    return int(version.split("-")[0])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _manifest(draft: Draft, contents: Mapping[str, bytes], number: int) -> Manifest:
    sums = {name: files.sha256(content) for name, content in contents.items()}
    short = files.sha256(repr((draft.step, sorted(sums.items()))).encode())[:8]
    graphs = {
        name: GraphInfo(file=f"{name}.onnx", architecture=item.architecture, inputs=item.inputs, outputs=item.outputs)
        for name, item in draft.graphs.items()
    }
    return Manifest(
        name=draft.name, version=f"{number:06d}-{short}", number=number, created_ms=_now_ms(), step=draft.step,
        epoch=draft.epoch, graphs=graphs, files=sums, metrics=dict(draft.metrics), offsets=dict(draft.offsets),
        parity=dict(draft.parity), gate=dict(draft.gate), meta=dict(draft.meta),
    )  # fmt: skip
