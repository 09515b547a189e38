"""The worker process against a real broker: what goes in comes out once, and bad input stops nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer

from feature_store.online import OnlineStore
from streamer import dead_letter, examples, topics
from streamer.settings import Settings

pytestmark = pytest.mark.integration


def publish(settings: Settings, topic: str, *records: tuple[str, Any]) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", max_request_size=2_000_000)
    futures = [
        producer.send(topic, key=key.encode(), value=value if isinstance(value, bytes) else json.dumps(value).encode())
        for key, value in records
    ]
    producer.flush()
    for future in futures:
        future.get(10)
    producer.close()


def click(event_id: str, user_id: str, after_ms: int = 0, **fields: Any) -> tuple[str, dict[str, Any]]:
    event = {"event_id": event_id, "type": "interaction", "user_id": user_id, "item_id": "i1", "action": "click"}
    return user_id, event | {"event_time_ms": 1_700_000_000_000 + after_ms} | fields


def bad_input() -> dict[str, tuple[str, Any]]:
    """One record for each way to be wrong, by the reason that it must get."""
    slate = {"type": "impression", "impression_id": "s", "items": [f"i{n}" for n in range(10_000)]}
    good = click("x", "bad")[1]
    return {
        "malformed_json": ("bad", b'{"event_id": "x", '),
        "wrong_type": click("wt", "bad", value="a lot"),
        "missing_field": ("bad", {name: value for name, value in good.items() if name != "item_id"}),
        "time_out_of_range": click("past", "bad", event_time_ms=1_000),
        "slate_too_large": ("bad", good | slate | {"event_id": "slate"}),
        "too_large": click("big", "bad", query="q" * 900_000),
    }


def test_bad_input_becomes_dead_letters_and_nothing_else_is_lost(
    fresh_topics: Settings, start_worker: Callable[[Settings], Any], read_topic: Callable[[str], list[Any]]
) -> None:
    settings = fresh_topics
    bad = bad_input()
    future = click("future", "bad", event_time_ms=int(time.time() * 1_000) + 86_400_000)
    odd = [
        future,
        ("bad", b'{"event_id":"nan","type":"interaction","user_id":"bad","item_id":"i","action":"a",'
         b'"event_time_ms":1700000000000,"value":NaN}'),
        ("bad", b""),
        ("bad", b"\xff\xfe\x00"),
        ("bad", b"[1, 2]"),
    ]  # fmt: skip
    sent = [click("first", "good"), *bad.values(), click("second", "good", 2_000), *odd]
    sent += [click("second", "good", 2_000), click("between", "good", 1_000), click("odd", "bad", extra_field={"k": 1})]
    publish(settings, topics.EVENTS.name, *sent)

    worker = start_worker(settings)
    worker.wait_for(len(sent))
    assert worker.stop() == 0

    letters = [letter for _, letter in dead_letter.read(settings.kafka.bootstrap_servers)]
    reasons = [letter.reason for letter in letters]
    assert len(letters) == len(bad) + len(odd)
    assert set(bad) <= set(reasons) and reasons.count("time_out_of_range") == 2
    assert len({(letter.partition, letter.offset) for letter in letters}) == len(letters)

    found = [examples.decode(record.value) for record in read_topic(topics.EXAMPLES.name)]
    assert sorted(one.example_id for one in found) == ["between", "first", "odd", "second"]
    assert [one.late for one in found if one.example_id == "between"] == [True]

    store = OnlineStore.open(settings.stores.feast_dir)
    user = store.read("good")
    store.close()
    assert user is not None
    assert (user.total_events, user.late_events, user.event_times_ms) == (
        3,
        1,
        [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000],
    )

    rows = [
        row
        for path in settings.stores.event_log_dir.rglob("*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    assert sorted(row["event_id"] for row in rows) == ["between", "first", "odd", "second"]
    assert [row["extra"] for row in rows if row["event_id"] == "odd"] == ['{"extra_field":{"k":1}}']


def test_the_catalogue_reaches_the_features_and_its_bad_records_are_reported_once(
    fresh_topics: Settings, start_worker: Callable[[Settings], Any]
) -> None:
    settings = fresh_topics
    item = {
        "event_id": "c",
        "type": "item",
        "item_id": "i1",
        "event_time_ms": 1_700_000_000_000,
        "categories": ["drama"],
    }
    publish(settings, topics.ITEMS.name, ("i1", item), ("i2", b"{"), click("lost", "u"))
    for restart in range(2):
        publish(settings, topics.EVENTS.name, click(f"k{restart}", "u", restart))
        worker = start_worker(settings)
        worker.wait_for(restart + 1)
        assert worker.stop() == 0
    letters = [letter for _, letter in dead_letter.read(settings.kafka.bootstrap_servers)]
    assert sorted(letter.reason for letter in letters) == ["malformed_json", "wrong_topic"]
    assert {letter.topic for letter in letters} == {topics.ITEMS.name}
    store = OnlineStore.open(settings.stores.feast_dir)
    user = store.read("u")
    store.close()
    assert user is not None and "drama" in json.dumps(user.families)


def test_state_of_another_broker_is_refused(fresh_topics: Settings, start_worker: Callable[[Settings], Any]) -> None:
    settings = fresh_topics
    publish(settings, topics.EVENTS.name, click("a", "u"))
    worker = start_worker(settings)
    worker.wait_for(1)
    worker.stop()
    partition = next(n for n in range(settings.kafka.partitions) if worker.applied_of(n) >= 0)
    worker.pretend_applied(partition, 99)
    again = start_worker(settings)
    assert again.process.wait(60) != 0
    assert "the state belongs to another broker" in again.log.read_text()
