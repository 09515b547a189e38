"""Snapshots: a learner's whole state and its source offsets in one atomic file.

The file is safetensors. Its header carries the format version, ``meta`` as JSON (source offsets, step, time) and a
SHA-256 over everything; the structure of the state (see :mod:`online_models.state_tree`) lies beside the tensors as
JSON bytes. It is written beside its target, synced and renamed, and the folder is synced: after a crash there is the
old file or the new one.

>>> import tempfile
>>> store = SnapshotStore(Path(tempfile.mkdtemp()), keep=2)
>>> _ = store.save({"steps": 3}, {"offsets": {"0": 41}})
>>> snapshot = store.latest()
>>> snapshot.state, snapshot.meta
({'steps': 3}, {'offsets': {'0': 41}})
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from online_models import state_tree
from streamer.errors import SnapshotError

FORMAT_VERSION = "1"
SUFFIX = ".safetensors"

_structure_name = "structure"
_log = logging.getLogger(__name__)


class DamagedSnapshotError(SnapshotError):
    """The file is cut short or its contents have changed; an older snapshot may be whole."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot as read back."""

    path: Path
    state: Any
    meta: dict[str, Any]


class SnapshotStore:
    """The last ``keep`` snapshots of one process in one folder.

    Parameters
    ----------
    directory
        Made where it is missing. Files are numbered, so their order does not rest on a clock.
    keep
        How many to keep; with at least two, a damaged newest file costs one interval, not the state.
    """

    def __init__(self, directory: Path | str, keep: int = 3) -> None:
        if keep < 1:
            raise SnapshotError(f"keep is {keep}; keep at least 1 snapshot (2 or more survive a damaged file)")
        self.directory = Path(directory)
        self.keep = keep
        self.directory.mkdir(parents=True, exist_ok=True)
        _sync_directory(self.directory.parent)
        for partial in self.directory.glob(".snapshot-*.partial"):  # of a process that was killed while it wrote
            partial.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """Return the snapshots on disk, oldest first."""
        return sorted(self.directory.glob(f"snapshot-*{SUFFIX}"), key=_number)

    def save(self, state: Any, meta: dict[str, Any]) -> Path:
        """Write the next snapshot, then remove what is older than the last ``keep``."""
        paths = self.paths()
        path = self.directory / f"snapshot-{_number(paths[-1]) + 1 if paths else 1:012d}{SUFFIX}"
        save(path, state, meta)
        kept = [*paths, path][-self.keep :]
        for old in self.directory.glob("snapshot-*"):  # the damaged ones too
            if _number(old) < _number(kept[0]):
                old.unlink(missing_ok=True)
        return path

    def latest(self) -> Snapshot | None:
        """Read the newest snapshot that is whole; None where there is none at all.

        A damaged file is logged, moved aside as ``….damaged`` and the one before it is tried.

        Raises
        ------
        SnapshotError
            There are snapshots, but not one is whole: starting from nothing would be a silent loss.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return Snapshot(path, *load(path))
            except DamagedSnapshotError as error:
                _log.error("%s; trying the snapshot before it", error)
                os.replace(path, path.with_suffix(".damaged"))
        if paths or any(self.directory.glob("snapshot-*.damaged")):
            raise SnapshotError(
                f"every snapshot in {self.directory} is damaged ({len(paths)} tried); restore a copy of that folder, "
                "or delete the folder to start learning from the first offset"
            )
        return None


def save(path: Path | str, state: Any, meta: dict[str, Any] | None = None) -> None:
    """Write a state atomically and durably.

    Raises
    ------
    SnapshotError
        The state holds something that is not data, or the file cannot be written.
    """
    path = Path(path)
    tensors, meta_text = _tensors_of(state, path), _json_of(meta or {}, path)
    header = {"headwater_snapshot": FORMAT_VERSION, "meta": meta_text, "sha256": _digest(tensors, meta_text)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        safetensors.torch.save_file(tensors, temporary, header)
        _sync_file(temporary)
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise SnapshotError(
            f"snapshot {path} cannot be written: {error}; free space or choose another folder"
        ) from error


def load(path: Path | str) -> tuple[Any, dict[str, Any]]:
    """Read ``(state, meta)`` back, bit for bit.

    Raises
    ------
    DamagedSnapshotError
        The file is cut short or its contents have changed.
    SnapshotError
        The file is missing, cannot be read, or is of another format version.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load(raw).items()}
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).get("__metadata__", {})
    except FileNotFoundError as error:
        raise SnapshotError(f"there is no snapshot at {path}; check the state folder in the settings") from error
    except OSError as error:
        raise SnapshotError(f"snapshot {path} cannot be read: {error}; check the folder's permissions") from error
    except (ValueError, safetensors.SafetensorError) as error:
        raise DamagedSnapshotError(f"snapshot {path} is damaged: {error}; use an older one") from error
    _check(header, tensors, path)
    structure = tensors.pop(_structure_name).numpy().tobytes().decode()
    return state_tree.unpack(tensors, structure), json.loads(header["meta"])


def _check(header: dict[str, str], tensors: dict[str, Tensor], path: Path) -> None:
    version = header.get("headwater_snapshot")
    if version != FORMAT_VERSION:
        raise SnapshotError(
            f"snapshot {path} has format version {version!r}; this program reads {FORMAT_VERSION!r}: "
            "start the program that wrote it, or begin with an empty folder"
        )
    if _digest(tensors, header.get("meta", "")) != header.get("sha256"):
        raise DamagedSnapshotError(
            f"snapshot {path} is damaged: its contents do not match its SHA-256; use an older one"
        )


def _tensors_of(state: Any, path: Path) -> dict[str, Tensor]:
    try:
        tensors, structure = state_tree.pack(state)
    except TypeError as error:
        raise SnapshotError(f"snapshot {path} cannot be written: {error}") from error
    # safetensors refuses tensors that share memory, as tied weights do
    owners: set[int] = set()
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in owners or tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensors[name] = tensor.clone()
        owners.add(pointer)
    tensors[_structure_name] = torch.from_numpy(np.frombuffer(structure.encode(), np.uint8).copy())
    return tensors


def _json_of(meta: dict[str, Any], path: Path) -> str:
    try:
        return json.dumps(meta, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise SnapshotError(f"snapshot {path} cannot be written: meta must be JSON: {error}") from error


def _digest(tensors: dict[str, Tensor], meta_text: str) -> str:
    """SHA-256 over meta and, by name, every tensor's dtype, shape and bytes."""
    digest = hashlib.sha256(meta_text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(state_tree.bits(tensor).numpy().data)
    return digest.hexdigest()


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("snapshot-")
    return int(digits) if digits.isdigit() else 0


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    # a rename is durable only once the folder itself is
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
