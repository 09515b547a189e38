"""Point in time: what the log gives afterwards is what the worker computed at that moment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore

from feature_store.offline import decisions, materialize, split_by_join_size, training_set
from feature_store.online import OnlineStore
from feature_store.replay import item_info, read_catalogue
from feature_store.user_state import UserState
from feature_store.vectors import ITEM_NAMES, NAMES
from streamer import sessions, topics
from streamer.effects import Record
from streamer.errors import SourceError
from streamer.event_log import EventLog
from streamer.events import Event
from streamer.examples import Example, decode
from streamer.pipeline import SessionPipeline
from streamer.settings import Sessions, Settings
from streamer.state import PartitionState

START_MS = 1_700_000_000_000
USERS = [f"u{number}" for number in range(6)]


def _events(count: int) -> Iterator[Event]:
    """Users in interleaved sessions; ties in a millisecond, late events, ratings, slates and answers to them."""
    random.seed(5)
    for number in range(20):
        categories = random.sample(["Drama", "War", "Comedy", "Noir"], 2)
        title = f"title {number}"
        yield Event(
            event_id=f"c{number}",
            type="item",
            item_id=f"i{number}",
            title=title,
            categories=categories,
            price=float(number),
            event_time_ms=START_MS,
        )
    now_ms = START_MS + 1_000
    shown: dict[str, tuple[str, list[str]]] = {}
    for number in range(count):
        now_ms += random.choice([0, 0, 1, 900, 40_000, 700_000, 3_000_000])
        user, late_ms = random.choice(USERS), random.choice([0, 0, 0, 0, 5_000_000])
        common = {"event_id": f"e{number}", "user_id": user, "event_time_ms": now_ms - late_ms}
        if random.random() < 0.25:
            slate = [f"i{item}" for item in random.sample(range(20), 5)]
            shown[user] = (f"p{number}", slate)
            yield Event(**common, type="impression", impression_id=f"p{number}", items=slate)  # type: ignore[arg-type]
        else:
            impression_id, slate = shown.pop(user, (None, [f"i{random.randrange(20)}"]))
            action = random.choice(["view", "rating", "purchase", "skip"])
            value = float(random.randint(1, 5)) if action == "rating" else None
            yield Event(
                **common,  # type: ignore[arg-type]
                type="interaction",
                item_id=slate[0],
                action=action,
                value=value,
                impression_id=impression_id,
            )


class Online:
    """The worker's own path over these events: its pipeline, its log, its pushes to the online store."""

    def __init__(self, folder: Path, events: list[Event]) -> None:
        self.feast_dir, self.log_dir = folder / "feast", folder / "event-log"
        self.examples: dict[str, Example] = {}
        self.pushed: list[tuple[str, UserState]] = []  # event_id, record after it
        state = PartitionState(folder / "state.sqlite")
        log = EventLog(folder / "state.sqlite", self.log_dir, 0)
        items = {event.item_id: item_info(event) for event in events if event.type == "item" and event.item_id}
        pipeline = SessionPipeline(0, state, items, Settings())
        for offset, event in enumerate(events):
            effects = pipeline.process([Record(offset, START_MS + offset, None, msgspec.json.encode(event))])
            assert effects is not None
            state.commit(effects)
            for message in effects.messages:
                if message.topic == topics.EXAMPLES.name:
                    example = decode(message.value)
                    self.examples.setdefault(example.example_id, example)
            self.pushed += [
                (event.event_id, msgspec.convert(msgspec.to_builtins(s), UserState)) for s in effects.states
            ]
        log.flush_all()
        log.close()
        state.close()


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Online:
    world = Online(tmp_path_factory.mktemp("online"), list(_events(500)))
    OnlineStore.open(world.feast_dir).close()
    limits = Sessions()
    materialize(world.log_dir, world.feast_dir, lambda s, e, ms: sessions.apply(s, e, ms, limits))
    return world


@pytest.fixture(scope="module")
def joined(online: Online) -> pd.DataFrame:
    return training_set(online.feast_dir, with_items=False)


def test_every_decision_has_its_row(online: Online, joined: pd.DataFrame) -> None:
    assert len(joined) == 500
    assert set(joined["event_id"]) == {f"e{number}" for number in range(500)}
    assert not joined[list(NAMES)].isna().any().any()


def test_features_at_a_decision_equal_those_of_the_workers_example(online: Online, joined: pd.DataFrame) -> None:
    rows = joined.set_index("event_id")[list(NAMES)].astype(np.float32)
    for example in online.examples.values():
        # an answer to a slate was decided when the slate was shown (impression p7 is event e7)
        moment = f"e{example.impression_id[1:]}" if example.slate and example.impression_id else example.example_id
        np.testing.assert_array_equal(rows.loc[moment].to_numpy(), np.float32(example.features), example.example_id)
    assert len(online.examples) > 400
    assert sum(example.late for example in online.examples.values()) > 10
    assert sum(bool(example.slate) and example.kind == "interaction" for example in online.examples.values()) > 5


def test_features_after_an_event_equal_those_of_the_online_store(online: Online, tmp_path: Path) -> None:
    """Feast online after each push, against Feast historical just after the event."""
    store = OnlineStore.open(tmp_path)
    repository = FeatureStore(repo_path=str(tmp_path))
    service = repository.get_feature_service("user_vector")
    moments = decisions(online.feast_dir).set_index("event_id")
    some = [(event_id, state) for event_id, state in online.pushed[30::60]]
    entities = pd.DataFrame(
        {
            "user_id": [state.user_id for _, state in some],
            "event_timestamp": [
                moments.loc[event_id, "event_timestamp"] + timedelta(microseconds=1) for event_id, _ in some
            ],
        }
    )
    historical = training_set(online.feast_dir, entities)
    for (_, state), (_, row) in zip(some, historical.iterrows(), strict=True):
        store.push([state])
        store.flush()
        found = repository.get_online_features(service, [{"user_id": state.user_id}]).to_dict()
        for name in NAMES[1:]:
            assert row[name] == pytest.approx(found[name][0], abs=1e-6), name


def test_nothing_is_known_before_the_first_event(online: Online) -> None:
    first = decisions(online.feast_dir).groupby("user_id")["event_timestamp"].min().reset_index()
    earlier = first.assign(event_timestamp=first["event_timestamp"] - timedelta(seconds=1))
    unknown = training_set(online.feast_dir, earlier)
    assert len(unknown) == len(USERS) and unknown[list(NAMES[1:])].isna().all().all()
    assert (training_set(online.feast_dir, first)["log_total_events"] == 0).all()


def test_columns_and_order_of_the_entities_are_kept(online: Online) -> None:
    entities = decisions(online.feast_dir).sample(40, random_state=1).assign(label=range(40))
    found = training_set(online.feast_dir, entities)
    assert found["label"].tolist() == list(range(40))
    assert found["event_id"].tolist() == entities["event_id"].tolist()


def test_item_features_join_beside_the_users(online: Online) -> None:
    entities = decisions(online.feast_dir).dropna(subset=["item_id"]).tail(50)
    found = training_set(online.feast_dir, entities, with_items=True)
    assert not found[list(ITEM_NAMES)].isna().any().any()
    prices = {item: np.log1p(info.price) / 3 for item, info in read_catalogue(online.log_dir).items()}
    assert found["log_price"].tolist() == pytest.approx([prices[item] for item in entities["item_id"]])


def test_an_item_does_not_know_of_the_click_to_be_predicted(tmp_path: Path) -> None:
    click = Event(event_id="e", type="interaction", user_id="u", item_id="i", action="view", event_time_ms=START_MS)
    later = msgspec.structs.replace(click, event_id="f", event_time_ms=START_MS + 1)
    world = Online(tmp_path, [click, later])
    OnlineStore.open(world.feast_dir).close()
    materialize(world.log_dir, world.feast_dir, lambda s, e, ms: sessions.apply(s, e, ms, Sessions()))
    found = training_set(world.feast_dir, with_items=True).set_index("event_id")
    assert np.isnan(found.loc["e", "log_popularity_1d"])
    assert found.loc["f", "log_popularity_1d"] == pytest.approx(np.log1p(1) / 3)


def test_portions_do_not_change_the_answer(
    online: Online, joined: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_store.offline._MOST_JOINED_ROWS", 20_000)
    pd.testing.assert_frame_equal(training_set(online.feast_dir), joined)


def test_portions_hold_everybody_once() -> None:
    sizes = {f"u{number}": (number, 2 * number) for number in range(50)}
    groups = split_by_join_size(sizes, 1_000)
    assert sorted(user for group in groups for user in group) == sorted(sizes)
    assert all(len(group) == 1 or sum(2 * sizes[u][0] ** 2 for u in group) <= 1_000 for group in groups)


def test_missing_rows_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="materialize"):
        training_set(tmp_path)


def test_missing_columns_are_named(online: Online) -> None:
    with pytest.raises(SourceError, match="event_timestamp"):
        training_set(online.feast_dir, pd.DataFrame({"user_id": ["u0"]}))


def test_a_folder_without_a_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="event log"):
        read_catalogue(tmp_path)
