"""Announcements on ``headwater.models``: of versions, of what became of them, and of what is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from exporters.manifest import Manifest
    from exporters.registry import Registry

Kind = Literal["published", "rolled_back", "released", "refused", "asked", "held", "repair"]
_ASIDE = ("refused", "asked", "held", "repair")  # they change nothing that serves


class Announcement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One announcement (JSON, keyed by model name, so that the compacted topic holds the latest of each model).

    ``rolled_back`` pins servers to the version, ``released`` lets them follow again. ``refused``, ``asked`` (somebody
    wants a new version now), ``held`` (publishing is on hold) and ``repair`` (a server's rows of ``table`` in
    ``buckets`` are not the trainer's) change nothing that serves.
    """

    name: str
    kind: Kind
    version: str = ""  # empty when it was refused
    path: str = ""  # the version's folder
    sha256: str = ""  # of the manifest
    step: int = 0
    metrics: dict[str, float] = {}
    offsets: dict[str, Any] = {}
    reason: str = ""
    time_ms: int = 0
    table: str = ""
    buckets: list[int] = []

    @property
    def moves_servers(self) -> bool:
        """Whether a server has to act on it."""
        return self.kind not in _ASIDE

    @property
    def key(self) -> bytes:
        """The compaction key. What moves no server has its own: it must not hide the version that serves."""
        return self.name.encode() if self.moves_servers else f"{self.name}:{self.kind}".encode()


_decoder = msgspec.json.Decoder(Announcement)


def encode(announcement: Announcement) -> bytes:
    """JSON bytes of an announcement."""
    return msgspec.json.encode(announcement)


def decode(raw: bytes) -> Announcement:
    """Read an announcement back; raises ``msgspec.ValidationError`` on anything else.

    >>> decode(encode(Announcement(name="student", kind="published", version="000001-ab"))).version
    '000001-ab'
    """
    return _decoder.decode(raw)


def announcement_of(registry: Registry, version: Manifest, kind: Kind, reason: str = "") -> Announcement:
    """Announce a version that lies in the registry."""
    return Announcement(
        name=version.name, kind=kind, version=version.version, path=str(registry.folder(version.name, version.version)),
        sha256=registry.manifest_sha256(version.name, version.version), step=version.step, metrics=version.metrics,
        offsets=version.offsets, reason=reason, time_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip
