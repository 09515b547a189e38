from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

from feature_store.online import OnlineStore
from streamer.bench.large_catalogue import LargeCatalogue
from streamer.bench.made_up_users import MadeUpUsers, Mix
from streamer.bench.serving_world import WorkersPart, environment, settings_for
from streamer.settings import Settings


def test_children_read_the_settings_of_the_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = LargeCatalogue(items=2_000, neighbours=60, dimension=16)
    wanted = settings_for(catalogue, "kafka:9092", tmp_path / "state", "redis://r:1/0")
    for name, value in environment(wanted).items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert (read.kafka, read.stores, read.learning) == (wanted.kafka, wanted.stores, wanted.learning)
    assert read.learning.catalog_rows == 2_002 and read.stores.online_store == "redis"


def test_records_change_in_the_store_when_their_events_are_due(tmp_path: Path) -> None:
    catalogue = LargeCatalogue(items=1_000, group=100)
    users = MadeUpUsers(catalogue, users=8, history=6)
    store = OnlineStore.open(tmp_path / "feast")
    now_ms = time.time_ns() // 1_000_000
    store.push(list(users.live(now_ms)))
    asks = users.requests(12, Mix(events=1.0), now_ms, 5)
    world = SimpleNamespace(users=users, store=store, settings=Settings())
    part = WorkersPart(world, asks, [0.0] * 6 + [0.6] * 6)
    part.begin(time.time())
    while part.pushed < 6:
        time.sleep(0.01)
    assert part.is_alive() or part.pushed == 12  # the later half waits for its time
    part.join()
    assert part.pushed == 12
    for user_id, state in users.states.items():
        read = store.read(user_id)
        assert read is not None and read.last_event_id == state.last_event_id and read.item_ids == state.item_ids
