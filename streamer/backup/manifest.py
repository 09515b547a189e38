"""What an archive says of itself."""

from __future__ import annotations

from typing import Any

import msgspec

FORMAT = 1
FILE = "manifest.json"
STATE = "state/"
REDIS = "online-store.redis"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the archive."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The last member of an archive: every file with its checksum, and where in the stream the state stands.

    ``positions`` are for people: source offsets by process, as each state holds them itself.
    """

    created_ms: int
    headwater: str
    partitions: int
    online_store: str
    files: dict[str, File]
    positions: dict[str, Any] = {}
    format: int = FORMAT


def encode(manifest: Manifest) -> bytes:
    """JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)
