"""The Feast repository on disk: its configuration file, its registry, and applying the definitions safely."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from feature_store.definitions import PROJECT, Definitions, define
from feature_store.feast_alone import FeatureStore
from streamer.errors import SettingsError

OnlineKind = Literal["sqlite", "redis"]
OFFLINE_FOLDER = "offline"


def redis_connection_string(url: str) -> str:
    """Feast's spelling of a Redis URL.

    Parameters
    ----------
    url
        ``redis://[user:password@]host[:port][/db]``, or ``rediss://…`` for TLS.

    Raises
    ------
    SettingsError
        For any other scheme, or without a host.

    Examples
    --------
    >>> redis_connection_string("rediss://:secret@cache:6380/2")
    'cache:6380,db=2,password=secret,ssl=true'
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise SettingsError(f"redis_url is {url!r}; give redis://[user:password@]host[:port][/db] or rediss://…")
    options = {"db": parts.path.strip("/") or "0", **dict(parse_qsl(parts.query))}
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            options[name] = unquote(value)
    if parts.scheme == "rediss":
        options["ssl"] = "true"
    return ",".join([f"{parts.hostname}:{parts.port or 6379}", *(f"{name}={value}" for name, value in options.items())])


def open_repository(
    feast_dir: Path, online_store: OnlineKind, redis_url: str, project: str = PROJECT
) -> tuple[Any, Definitions]:
    """Write ``feature_store.yaml``, register the definitions, and open the repository with Feast.

    Processes that start at once take turns by a file lock; applying the same definitions again changes nothing.

    Parameters
    ----------
    feast_dir
        Folder of the repository, made where it is missing.
    online_store
        ``sqlite`` (a file in ``feast_dir``) or ``redis``.
    redis_url
        Where Redis answers; read for ``redis`` only.
    project
        Feast project: a prefix of every key and table.
    """
    feast_dir.mkdir(parents=True, exist_ok=True)
    definitions = define(feast_dir / OFFLINE_FOLDER)
    with _locked(feast_dir / ".lock"):
        _write_config(feast_dir, _config(feast_dir, online_store, redis_url, project))
        repository = FeatureStore(repo_path=str(feast_dir))
        repository.apply(definitions.objects())
    return repository, definitions


def _config(feast_dir: Path, online_store: OnlineKind, redis_url: str, project: str) -> dict[str, Any]:
    if online_store == "sqlite":
        online: dict[str, Any] = {"type": "sqlite", "path": str(feast_dir.absolute() / "online.db")}
    else:
        # Records are written by the one worker that owns the user's partition, so the order of writes is the truth;
        # Feast's own check would drop a late event's record, whose watermark stands still.
        online = {"type": "redis", "connection_string": redis_connection_string(redis_url), "skip_dedup": True}
    return {
        "project": project,
        "provider": "local",
        "registry": str(feast_dir.absolute() / "registry.db"),
        "online_store": online,
        "offline_store": {"type": "file"},
        "entity_key_serialization_version": 3,
    }


def _write_config(feast_dir: Path, config: dict[str, Any]) -> None:
    path, fresh = feast_dir / "feature_store.yaml", feast_dir / "feature_store.yaml.new"
    fresh.touch(mode=0o600)  # the connection string may hold a password
    fresh.write_text(yaml.safe_dump(config, sort_keys=False))
    os.replace(fresh, path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
