"""The same code against containers: what a user's own integration tests with testcontainers look like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer

from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from streamer import topics
from streamer.events import Event
from streamer.publishing import Publisher
from streamer.settings import Kafka, Settings
from tests.conftest import docker_answers, docker_kafka

pytestmark = [pytest.mark.integration, pytest.mark.docker, pytest.mark.slow]
REDIS_IMAGE = "redis:7.4-alpine"


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    if not docker_answers():
        pytest.skip("no Docker engine answers")


@pytest.fixture(scope="module")
def kafka_container() -> Iterator[str]:
    with docker_kafka() as address:
        yield address


def test_topics_are_created_and_events_travel(kafka_container: str) -> None:
    settings = Settings(kafka=Kafka(bootstrap_servers=kafka_container, partitions=2))
    assert set(topics.create_topics(settings)) == {topic.name for topic in topics.ALL}
    assert topics.create_topics(settings) == []
    assert not [state for state in topics.describe(settings) if state.differences]
    with Publisher(kafka_container) as publisher:
        publisher.send(
            Event(event_id="e1", type="interaction", user_id="ada", item_id="i", action="click", event_time_ms=10**12)
        )
    consumer = KafkaConsumer(
        topics.EVENTS.name,
        bootstrap_servers=kafka_container,
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
    )
    record = next(iter(consumer))
    consumer.close()
    assert record.key == b"ada"
    assert json.loads(record.value)["event_id"] == "e1"


def test_feast_keeps_records_in_redis(tmp_path: Path) -> None:
    from testcontainers.redis import RedisContainer

    with RedisContainer(REDIS_IMAGE) as redis:
        url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}/0"
        store = OnlineStore.open(tmp_path / "feast", "redis", url)
        store.push([UserState(user_id="ada", item_ids=["i7"], actions=["click"], event_times_ms=[5])])
        held = store.read("ada")
        store.close()
    assert held is not None
    assert held.item_ids == ["i7"]
