"""Everything is lost but the topics: a restored backup gives back what was, and the stream goes on from there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from exporters.deltas import DEFAULT_MODEL as MODEL
from exporters.registry import Registry
from feature_store.online import OnlineStore
from streamer import topics
from streamer.backup.restoring import restore
from streamer.backup.writing import back_up
from streamer.broker import free_port
from streamer.events import Event
from streamer.processes import Child
from streamer.publishing import Publisher
from streamer.scrape import Scrape
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]

USERS, ITEMS = [f"u{number}" for number in range(12)], [f"i{number}" for number in range(15)]
EVENTS, MORE = 240, 36
WAIT_SECONDS = 120.0
SMALL = {
    "LEARNING__CATALOG_ROWS": "64",
    "LEARNING__DIMENSION": "8",
    "LEARNING__CANDIDATES": "12",
    "LEARNING__NEIGHBOURS": "10",
    "LEARNING__SNAPSHOT_SECONDS": "0.5",
    "LEARNING__PUBLISH_DENSE_SECONDS": "0.5",
    "LEARNING__PUBLISH_ROWS_SECONDS": "0.2",
    "LEARNING__PARITY_SECONDS": "1",
    "KAFKA__FETCH_MAX_WAIT_MS": "50",
    "SERVING__DEADLINE_MS": "5000",
}


class System:
    """Worker, trainer and server as processes over one state folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder, self.starts, self.published = settings, folder, 0, 0
        self.children: dict[str, Child] = {}
        self.began_ms = time.time_ns() // 1_000_000 - 3_600_000
        self.registry = Registry(settings.stores.models_dir)

    def start(self) -> None:
        self.starts += 1
        own = {
            **SMALL,
            "KAFKA__BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "STORES__STATE_DIR": str(self.settings.stores.state_dir),
        }
        self.ports = {name: free_port() for name in ("worker", "train", "serve")}
        for name, port in self.ports.items():
            named = {f"HEADWATER_{key}": value for key, value in {**own, "METRICS_PORT": str(port)}.items()}
            arguments = [name, "--port", str(port)] if name == "serve" else [name]
            self.children[name] = Child(arguments, named, self.folder / f"{name}-{self.starts}.log")

    def lose_everything(self) -> None:
        """Kill all processes at once, and the disk with them."""
        self.stop()
        shutil.rmtree(self.settings.stores.state_dir)

    def stop(self) -> None:
        for child in self.children.values():
            child.kill()

    def publish(self, count: int) -> None:
        """Let the users view items in turn, one second after the other."""
        with Publisher(self.settings.kafka.bootstrap_servers) as publisher:
            for number in range(self.published, self.published + count):
                publisher.send(
                    Event(
                        event_id=f"e{number}",
                        type="interaction",
                        user_id=USERS[number % len(USERS)],
                        item_id=ITEMS[(number * number // 7 + number) % len(ITEMS)],
                        action="view",
                        event_time_ms=self.began_ms + 1_000 * number,
                    )
                )
            publisher.flush()
        self.published += count

    def scrape(self, name: str) -> Scrape:
        """Metrics of a process; none before it answers."""
        self.children[name].check()
        try:
            return Scrape.parse(httpx.get(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=10).text)
        except httpx.HTTPError:
            return Scrape.parse("")

    def learned(self) -> int:
        """Examples in the newest snapshot."""
        latest = SnapshotStore(self.settings.stores.snapshots_dir / MODEL).latest()
        return 0 if latest is None else int(latest.state["student"]["learned"])

    def get(self, path: str) -> dict[str, Any]:
        return httpx.get(f"http://127.0.0.1:{self.ports['serve']}{path}", timeout=30).json()

    def served(self) -> str | None:
        """Which version serves; None before the server answers."""
        self.children["serve"].check()
        try:
            return self.get("/models")["serving"]
        except httpx.HTTPError:
            return None

    def settled(self) -> bool:
        """Whether every event is learnt, saved, published, and served."""
        versions = self.registry.versions(MODEL)
        newest = self.registry.verify(MODEL, versions[-1]) if versions else None
        done = newest is not None and newest.step == self.published == self.learned()
        return done and newest is not None and self.served() == newest.version

    def rows_agree(self) -> bool:
        """Whether the last comparison of each served table with the trainer's found no difference."""
        self.children["train"].check()
        found = self.scrape("serve")
        agreed = found.by("headwater_table_parity_checks_total", "table", outcome="agrees")
        return len(agreed) > 3 and found.total("headwater_table_parity_buckets") == 0

    def sessions(self) -> dict[str, list[tuple[str, int]]]:
        found = {user: self.get(f"/users/{user}/session")["history"] for user in USERS}
        return {user: [(one["item_id"], one["event_time_ms"]) for one in history] for user, history in found.items()}

    def stored(self) -> Stored:
        """What lies in the state folder, read as the processes read it."""
        newest = self.registry.newest(MODEL)
        learner = SnapshotStore(self.settings.stores.snapshots_dir / MODEL).latest()
        assert newest is not None and learner is not None
        _, tables = newest
        return Stored(
            versions=self.registry.versions(MODEL),
            rows={name: values.copy() for name, values in tables.arrays.items()},
            item_ids=list(tables.item_ids),
            learned=learner.state["student"],
        )

    def log_end(self) -> str:
        logs = [self.folder / f"{name}-{self.starts}.log" for name in self.children]
        state = f"{self.published} published, {self.learned()} learnt, {self.served()} serves"
        return state + "".join(f"\n== {path.name}\n{path.read_text()[-1_500:]}" for path in logs)


@dataclass
class Stored:
    """Versions, the newest one's rows, and everything that the learner has learnt."""

    versions: list[str]
    rows: dict[str, Any]
    item_ids: list[str | None]
    learned: Any


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same, number by number."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor | np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=np.asarray(one).dtype.kind == "f")
    return bool(one == other)


def sessions_in(settings: Settings) -> dict[str, list[tuple[str, int]]]:
    """Every user's session in the online store."""
    stores = settings.stores
    store = OnlineStore.open(stores.feast_dir, stores.online_store, stores.redis_url)
    try:
        found = {user: store.read(user) for user in USERS}
        return {
            user: list(zip(state.item_ids, state.event_times_ms, strict=True))
            for user, state in found.items()
            if state is not None
        }
    finally:
        store.close()


@pytest.fixture
def system(fresh_topics: Settings, tmp_path: Path) -> Iterator[System]:
    made = System(fresh_topics, tmp_path)
    yield made
    made.stop()


def test_a_restored_backup_is_what_was_and_the_stream_goes_on(
    system: System, tmp_path: Path, wait_until: Callable[..., None], read_topic: Callable[[str], list[Any]]
) -> None:
    def settle() -> None:
        try:
            wait_until(system.settled, "everything is learnt and served", WAIT_SECONDS, 0.2)
            wait_until(system.rows_agree, "the served rows are the trainer's", WAIT_SECONDS, 0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {system.log_end()}") from None

    archive = tmp_path / "headwater.tar.gz"
    system.publish(EVENTS)
    system.start()
    settle()
    back_up(system.settings, archive)  # beside the running processes
    sessions, before = system.sessions(), system.stored()
    assert sum(map(len, sessions.values())) == EVENTS and len(before.rows) > 3
    system.publish(MORE)  # the topics get ahead of the backup, with events, rows and a version that will be lost
    settle()
    lost = system.served()

    system.lose_everything()
    restore(system.settings, archive)
    after = system.stored()
    assert sessions_in(system.settings) == sessions
    assert after.versions == before.versions and after.item_ids == before.item_ids
    assert same(after.rows, before.rows) and same(after.learned, before.learned)

    system.publish(MORE)  # a partition's next event tells its worker what it has missed
    system.start()
    settle()
    assert system.scrape("train").total("headwater_examples_learned_total") == 2 * MORE, "each once"
    gone_on = system.sessions()
    assert sum(map(len, gone_on.values())) == EVENTS + 2 * MORE
    assert all(gone_on[user][: len(history)] == history for user, history in sessions.items())
    assert system.served() not in (*before.versions, lost)
    assert not read_topic(topics.DEAD_LETTER.name)
