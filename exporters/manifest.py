"""What a published version says of itself."""

from __future__ import annotations

from typing import Any

import msgspec

from exporters.deltas import stamp_of

FILE = "manifest.json"
TABLES_FILE = "tables.safetensors"
WEIGHTS_OFFSET = "weights_offset"  # in meta: rows before this offset of headwater.weights are in the tables


class GraphInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One graph of a version."""

    file: str
    architecture: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A version: what it consists of, where in the stream it was taken, and what it passed.

    ``offsets`` are the positions in the source topics up to which it has learned; ``parity`` is the largest difference
    between torch and ONNX Runtime for each graph; ``epoch`` grows with every start of the trainer.
    """

    name: str
    version: str  # "<number>-<sha>"
    number: int
    created_ms: int
    step: int
    graphs: dict[str, GraphInfo]
    files: dict[str, str]  # file name -> sha256
    metrics: dict[str, float] = {}
    offsets: dict[str, Any] = {}
    parity: dict[str, float] = {}
    gate: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    epoch: int = 0

    @property
    def stamp(self) -> int:
        """Order among the rows of the same learner."""
        return stamp_of(self.epoch, self.step)


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Publishing is on hold: the trainer goes on learning, and neither rows nor versions go out."""

    reason: str = ""
    time_ms: int = 0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A version that a share of the users tries, and the one that serves the others."""

    version: str
    stable: str
    share: float
    since_ms: int = 0


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """How often trainers of a name have started; see :func:`exporters.deltas.stamp_of`."""

    epoch: int


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which version serves. ``pinned`` is set by a rollback and lifted by a release."""

    version: str
    pinned: bool = False
    reason: str = ""
    time_ms: int = 0


def encode(record: Manifest | Pointer | Hold | Trial | Epoch) -> bytes:
    """JSON for people and programs: indented, keys as declared."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2)
