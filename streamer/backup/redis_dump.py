"""Feast's rows in Redis as a file: keys with the values that Redis itself dumps and checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from redis import Redis, RedisError

from feature_store.definitions import PROJECT
from streamer.errors import SnapshotError

_AT_ONCE = 500
_LENGTH_BYTES = 8


def dump(url: str, path: Path) -> int:
    """Write every key of the Feast project; returns how many.

    A key that changes meanwhile is written as it is when its turn comes. That is enough: the store may be newer than
    the worker's state, never older, and the worker writes what it applies again.

    Raises
    ------
    SnapshotError
        Redis does not answer.
    """
    written = 0
    try:
        with Redis.from_url(url) as client, path.open("wb") as file:
            for key in client.scan_iter(match=f"*{PROJECT}".encode(), count=_AT_ONCE):
                value = client.dump(key)
                if value is None:
                    continue  # expired meanwhile
                for part in (key, max(client.pttl(key), 0).to_bytes(_LENGTH_BYTES, "big"), value):
                    file.write(len(part).to_bytes(_LENGTH_BYTES, "big") + part)
                written += 1
    except RedisError as error:
        raise SnapshotError(f"Redis at {url} does not give its rows ({error}); start it, then try again") from error
    return written


def load(path: Path, url: str, *, overwrite: bool) -> int:
    """Bring the keys back; returns how many.

    Parameters
    ----------
    path
        What :func:`dump` wrote.
    url
        Where Redis answers.
    overwrite
        Replace keys that are there; without it a store that already has rows of the project is refused.

    Raises
    ------
    SnapshotError
        Redis does not answer, already has rows, or refuses one.
    """
    try:
        with Redis.from_url(url) as client:
            if not overwrite and next(iter(client.scan_iter(match=f"*{PROJECT}".encode(), count=_AT_ONCE)), None):
                raise SnapshotError(
                    f"Redis at {url} already has rows of the project {PROJECT!r}; give an empty one, or --overwrite"
                )
            restored = 0
            for key, ttl_ms, value in _read(path):
                client.restore(key, ttl_ms, value, replace=True)
                restored += 1
            return restored
    except RedisError as error:
        raise SnapshotError(f"Redis at {url} does not take the rows ({error})") from error


def _read(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    with path.open("rb") as file:
        while length := file.read(_LENGTH_BYTES):
            key = file.read(int.from_bytes(length, "big"))
            ttl = file.read(int.from_bytes(file.read(_LENGTH_BYTES), "big"))
            value = file.read(int.from_bytes(file.read(_LENGTH_BYTES), "big"))
            yield key, int.from_bytes(ttl, "big"), value
