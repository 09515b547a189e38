"""The process over a real event log, a real registry and a real feature store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporters.foundation import FoundationIndex
from exporters.registry import Registry
from feature_store.item_state import ItemState
from feature_store.online import OnlineStore
from feature_store.user_vectors import UserVectors
from online_models import state_tree
from streamer import metrics
from streamer.event_log import SCHEMA
from streamer.foundation import Foundation, Stopped
from streamer.settings import Foundation as Sizes
from streamer.settings import Learning, Settings, Stores

START_MS = 1_700_000_000_000
GROUPS, IN_GROUP = 4, 8


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    sizes = Sizes(
        dimension=16, layers=1, length=20, recent=40, first_epochs=30, learning_rate=5e-3, batch_windows=16,
        dropout=0.0, announce=False,
    )  # fmt: skip
    return Settings(stores=Stores(state_dir=tmp_path / "state"), learning=Learning(catalog_rows=64), foundation=sizes)


class Log:
    """Writes the event log as a worker does, one flush at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.offset = folder, 0
        self._random = np.random.default_rng(3)

    def clicks(self, users: int = 24, events: int = 12) -> None:
        rows = [
            {"type": "interaction", "user_id": f"u{user}", "item_id": self._item(user % GROUPS), "action": "click"}
            for _ in range(events)
            for user in range(users)
        ]
        self.write(rows)

    def write(self, rows: list[dict[str, Any]]) -> None:
        first, folder = self.offset, self.folder / "event_date=2023-11-14"
        for row in rows:
            time_ms = row.get("event_time_ms", START_MS + 60_000 * self.offset)
            row |= {"offset": self.offset, "partition": 0, "event_id": f"e{self.offset}", "event_time_ms": time_ms}
            self.offset += 1
        folder.mkdir(parents=True, exist_ok=True)
        name = f"partition-00000-{first:020d}-{self.offset - 1:020d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / name)

    def _item(self, group: int) -> str:
        return f"g{group}-{self._random.integers(IN_GROUP)}"


@pytest.fixture
def log(settings: Settings) -> Log:
    return Log(settings.stores.event_log_dir)


@pytest.fixture
def process(settings: Settings) -> Iterator[Foundation]:
    made = Foundation(settings)
    made.resume()
    yield made
    made.close()


def own_group(settings: Settings, users: int = 24, k: int = IN_GROUP) -> float:
    """Share of the lists found by the users' vectors of Feast in the published index that is of the users' groups."""
    index, vectors = FoundationIndex(Registry(settings.stores.models_dir)), UserVectors.open(settings.stores.feast_dir)
    index.follow()
    hits = []
    for user in range(users):
        found = vectors.read(f"u{user}")
        assert found is not None and found.version == index.version
        names = [name for name, _ in index.search(found.vector, found.space, k)]
        assert len(names) == k
        hits += [name.startswith(f"g{user % GROUPS}-") for name in names]
    vectors.close()
    return float(np.mean(hits))


def test_users_of_feast_find_their_items_in_the_index(process: Foundation, log: Log, settings: Settings) -> None:
    log.clicks()
    plotted = process.run_once()
    assert plotted["events"] == 288 and plotted["published_users"] == 24 and plotted["version"] == 1
    assert own_group(settings) > 0.9, "chance is a quarter"


def test_a_refresh_learns_the_new_events_and_stays_in_the_space(
    process: Foundation, log: Log, settings: Settings
) -> None:
    log.clicks()
    process.run_once()
    log.clicks(events=3)
    plotted = process.run_once()
    assert plotted["events"] == 72 and plotted["windows"] == 24 + 16 and plotted["replayed"] == 16
    assert 0 < plotted["alignment_residual"] < 0.5
    spaces = {version.meta["space"] for version in versions(settings)}
    assert len(versions(settings)) == 2 and len(spaces) == 1
    assert own_group(settings) > 0.9
    assert process.run_once() == {"events": 0.0, "users": 24.0}, "nothing new: nothing is published"


def test_a_refresh_says_how_well_the_last_one_foresaw_its_events(process: Foundation, log: Log) -> None:
    log.clicks()
    assert "recall" not in process.run_once(), "before the first training there is nobody to ask"
    log.clicks(events=1)
    plotted = process.run_once()
    assert plotted["judged"] == 24 and plotted["recall"] > plotted["popular_recall"]
    shown = {scorer: metrics.FOUNDATION_RECALL.labels(scorer=scorer)._value.get() for scorer in ("model", "popular")}
    assert shown == {"model": plotted["recall"], "popular": plotted["popular_recall"]}
    assert metrics.FOUNDATION_USERS._value.get() == 24


def test_the_first_training_waits_for_enough_events(settings: Settings, log: Log) -> None:
    sizes = settings.foundation.model_copy(update={"first_events": 300})
    patient = Foundation(settings.model_copy(update={"foundation": sizes}))
    log.clicks()
    assert patient.run_once() == {"events": 288.0, "users": 24.0} and versions(settings) == []
    log.clicks(events=1)
    assert patient.run_once()["version"] == 1, "the events that had waited count"
    log.clicks(users=1, events=1)
    assert patient.run_once()["version"] == 2, "after the first training every event is worth a refresh"
    patient.close()


def versions(settings: Settings) -> list[Any]:
    registry = Registry(settings.stores.models_dir)
    return [registry.manifest("foundation", version) for version in registry.versions("foundation")]


def test_a_restart_goes_on_exactly(settings: Settings, log: Log, process: Foundation) -> None:
    log.clicks()
    process.run_once()
    resumed = Foundation(settings)
    resumed.resume()
    assert state_tree.equal(process.state_dict(), resumed.state_dict())
    log.clicks(events=2)
    for one in (process, resumed):
        assert one.intake.read() == 48
        one._learn()
    assert state_tree.equal(process.state_dict(), resumed.state_dict())
    resumed.close()


def test_what_a_crash_left_unpublished_is_published_at_the_next_start(settings: Settings, log: Log) -> None:
    log.clicks()
    crashed = Foundation(settings)
    crashed.intake.read()
    crashed._learn()
    crashed._snapshots.save(crashed.state_dict(), {})
    crashed.close()
    assert versions(settings) == []
    resumed = Foundation(settings)
    resumed.resume()
    assert resumed.run_once()["published_users"] == 24
    resumed.close()


def test_an_item_that_only_the_catalogue_knows_is_found_by_its_category(
    process: Foundation, log: Log, settings: Settings
) -> None:
    described = [
        {"type": "item", "item_id": f"g{group}-{number}", "categories": [f"group {group}"], "event_time_ms": START_MS}
        for group in range(GROUPS)
        for number in (*range(IN_GROUP), "new")
    ]
    log.write(described)
    log.clicks()
    process.run_once()
    index, vectors = FoundationIndex(Registry(settings.stores.models_dir)), UserVectors.open(settings.stores.feast_dir)
    index.follow()
    best = []
    for user in range(24):
        found = vectors.read(f"u{user}")
        assert found is not None
        names = [name for name, _ in index.search(found.vector, found.space, GROUPS * (IN_GROUP + 1))]
        newcomers = [name for name in names if name.endswith("new")]
        best.append(newcomers[0] == f"g{user % GROUPS}-new")
    vectors.close()
    assert np.mean(best) > 0.7, "chance is a quarter"


def test_metadata_come_from_the_feature_store_where_the_log_has_none(
    process: Foundation, log: Log, settings: Settings
) -> None:
    store = OnlineStore.open(settings.stores.feast_dir)
    store.push_items([ItemState(item_id="g0-0", title="Alien", categories=["Horror"], price=9.0)])
    store.close()
    log.write([{"type": "interaction", "user_id": "u", "item_id": name, "action": "view"} for name in ("g0-0", "x")])
    process.intake.read()
    tokens = process.learner.model.item_encoder.tokens
    assert int((tokens[process.intake.catalog.row("g0-0")] > 0).sum()) == 3
    assert not tokens[process.intake.catalog.row("x")].any()


def test_a_full_catalogue_takes_the_row_of_the_item_not_seen_for_longest(
    process: Foundation, log: Log, settings: Settings
) -> None:
    rows = [{"type": "interaction", "user_id": "u", "item_id": f"i{number}", "action": "view"} for number in range(200)]
    log.write(rows)
    assert process.run_once()["events"] == 200
    window = process.intake.store.cut(["u"], np.zeros(1, np.int64), 1_000).items[0]
    assert (window[:138] == 1).all(), "events of items that left are of the unknown item"
    assert len(process.intake.catalog) == 62 and (window[138:] > 1).all()


def test_a_log_of_nothing_is_no_error(process: Foundation, settings: Settings) -> None:
    assert process.run_once() == {"events": 0.0, "users": 0.0}
    assert versions(settings) == []


def test_stopping_in_a_refresh_leaves_the_last_snapshot(process: Foundation, log: Log, settings: Settings) -> None:
    log.clicks()
    process.stopping.set()
    with pytest.raises(Stopped):
        process.run_once()
    process.run()  # ends at once
    assert versions(settings) == [] and not any(settings.stores.snapshots_dir.rglob("*.safetensors"))
