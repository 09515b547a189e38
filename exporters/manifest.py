"""What a published version says of itself."""

from __future__ import annotations

from typing import Any

import msgspec

FILE = "manifest.json"
TABLES_FILE = "tables.safetensors"


class GraphInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One graph of a version."""

    file: str
    architecture: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A version: what it consists of, where in the stream it was taken, and what it passed.

    ``offsets`` are the positions in the source topics up to which it has learned; ``parity`` is the largest difference
    between torch and ONNX Runtime for each graph.
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


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which version serves. ``pinned`` is set by a rollback and lifted by a release."""

    version: str
    pinned: bool = False
    reason: str = ""
    time_ms: int = 0


def encode(record: Manifest | Pointer) -> bytes:
    """JSON for people and programs: indented, keys as declared."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2)
