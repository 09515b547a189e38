"""The stores: the state folder, its disk, Redis, Feast's repository."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import yaml
from redis import Redis, RedisError

from streamer.doctor.finding import Finding, fine, wrong
from streamer.settings import Settings

LEAST_FREE_BYTES = 2 * 1024**3


def check_folders(settings: Settings, least_free_bytes: int = LEAST_FREE_BYTES) -> Iterator[Finding]:
    """See whether the state folder can be written and its disk has room.

    Parameters
    ----------
    settings
        Where it lies.
    least_free_bytes
        Below this the disk counts as full: a snapshot and a version must fit beside the ones they replace.
    """
    folder = settings.stores.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"doctor")
    except OSError as error:
        yield wrong(
            "stores",
            f"stores.state_dir={str(folder)!r} cannot be written ({error.strerror})",
            "give a folder that this user may write: HEADWATER_STORES__STATE_DIR, or chown it",
        )
        return
    yield fine("stores", f"{folder} can be written")
    free = shutil.disk_usage(folder).free
    said = f"{free / 1024**3:.1f} GiB are free on the disk of {folder}"
    if free < least_free_bytes:
        yield wrong("stores", said, "free some; or lower labels.retention_days, or move the event log's old days away")
    else:
        yield fine("stores", said)


def check_redis(settings: Settings) -> Iterator[Finding]:
    """See whether Redis answers and takes writes, where it is the online store."""
    if settings.stores.online_store != "redis":
        return
    url = settings.stores.redis_url
    try:
        with Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.set("headwater:doctor", b"", px=1_000)
            kept = client.info("persistence").get("aof_enabled")
    except (RedisError, OSError, ValueError) as error:
        yield wrong(
            "stores", f"Redis at {url} does not take a write ({error})", "start it, or set HEADWATER_STORES__REDIS_URL"
        )
        return
    yield fine("stores", f"Redis at {url} answers" + ("" if kept else "; it keeps nothing over a restart"))


def check_feast(settings: Settings) -> Iterator[Finding]:
    """See whether Feast's repository fits the settings and its online store is whole."""
    config = settings.stores.feast_dir / "feature_store.yaml"
    if not config.exists():
        yield fine("stores", "Feast has no repository yet; the first process makes it")
        return
    try:
        written = yaml.safe_load(config.read_text())["online_store"]["type"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        yield wrong("stores", f"{config} cannot be read ({error!r})", "delete it; the next process writes it anew")
        return
    wanted = settings.stores.online_store
    if written != wanted:
        said = f"{config} says {written}, the settings say {wanted}: processes look into different stores"
        yield wrong("stores", said, f"give every process HEADWATER_STORES__ONLINE_STORE={written}, or restart all")
        return
    yield fine("stores", f"Feast keeps the sessions in {wanted}")
    if wanted == "sqlite":
        yield from check_sqlite(settings.stores.feast_dir / "online.db", "headwater restore, or delete it and replay")


def check_sqlite(path: Path, mend: str) -> Iterator[Finding]:
    """Let SQLite check a file."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found == "ok":
        yield fine("stores", f"{path.name} is whole")
    else:
        yield wrong("stores", f"{path} is damaged ({found})", mend)
