"""Announcements on ``headwater.models``: a version was published, refused, rolled back to, released, or asked for."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["published", "rolled_back", "released", "refused", "asked"]


class Announcement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One announcement (JSON, keyed by model name, so that the compacted topic holds the latest of each model).

    ``rolled_back`` pins servers to the version, ``released`` lets them follow again, ``refused`` and
    ``asked`` (somebody wants a new version now) change nothing.
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

    @property
    def key(self) -> bytes:
        """The compaction key. Refusals and requests have their own: they must not hide the version that serves."""
        return f"{self.name}:{self.kind}".encode() if self.kind in ("refused", "asked") else self.name.encode()


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
