"""The doctor at a real broker: topics that are missing or differ, readers that are away or behind, clocks."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from streamer import topics
from streamer.doctor.broker import check_broker, check_topics
from streamer.doctor.clocks import check_clocks
from streamer.doctor.finding import Finding
from streamer.doctor.positions import check_positions
from streamer.doctor.processes import check_groups
from streamer.settings import Settings
from streamer.state import PartitionState, state_path
from streamer.workers import GROUP

pytestmark = pytest.mark.integration


def wrongs(found: Any) -> list[Finding]:
    return [finding for finding in found if finding.wrong]


def with_kafka(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update=changes)})


def test_topics(fresh_topics: Settings) -> None:
    assert wrongs(check_broker(fresh_topics)) == wrongs(check_topics(fresh_topics)) == []
    found = wrongs(check_topics(with_kafka(fresh_topics, partitions=fresh_topics.kafka.partitions + 1)))
    assert f"{topics.EVENTS.name}: {fresh_topics.kafka.partitions} partitions, not" in found[0].said
    assert "HEADWATER_KAFKA__PARTITIONS" in found[0].mend
    admin = KafkaAdminClient(bootstrap_servers=fresh_topics.kafka.bootstrap_servers)
    admin.delete_topics([topics.DEAD_LETTER.name])
    while topics.DEAD_LETTER.name in admin.list_topics():
        time.sleep(0.05)
    admin.close()
    (found_missing,) = wrongs(check_topics(fresh_topics))
    assert found_missing.said == f"{topics.DEAD_LETTER.name}: missing" and found_missing.mend == "headwater topics"


def test_retention(fresh_topics: Settings) -> None:
    if not topics.describe(fresh_topics)[0].configs:
        pytest.skip("the embedded broker reports no configuration")
    found = wrongs(check_topics(with_kafka(fresh_topics, log_retention_days=3)))
    assert any(finding.mend.endswith("retention.ms=259200000") for finding in found)


def test_clocks(fresh_topics: Settings) -> None:
    before = set(_topics(fresh_topics))
    found = list(check_clocks(fresh_topics))
    assert wrongs(found) == []
    if found:  # the embedded broker may put no time of its own on a record
        late = wrongs(check_clocks(fresh_topics, now=lambda: time.time() - 90))
        assert late and late[0].said.startswith("the broker differs from this machine by +")
    assert set(_topics(fresh_topics)) == before, "what the clocks were compared with is deleted again"


def _topics(settings: Settings) -> list[str]:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        names = list(admin.list_topics())
        while any(name.startswith("headwater.doctor") for name in names):
            time.sleep(0.05)
            names = list(admin.list_topics())
        return names
    finally:
        admin.close()


def test_readers(fresh_topics: Settings) -> None:
    found = wrongs(check_groups(fresh_topics))
    assert any(finding.said == "nobody reads headwater.events as headwater-worker" for finding in found)
    assert any(finding.mend.startswith("start `headwater train --name student`") for finding in found)
    servers, name = fresh_topics.kafka.bootstrap_servers, topics.EVENTS.name
    producer = KafkaProducer(bootstrap_servers=servers)
    for number in range(30):
        producer.send(name, b"event", key=str(number).encode())
    producer.flush()
    producer.close()
    reader = KafkaConsumer(name, group_id=GROUP, bootstrap_servers=servers, auto_offset_reset="earliest")
    read = 0
    while read < 30:
        read += sum(len(records) for records in reader.poll(500).values())
    assert worker(fresh_topics).wrong is False and "30 messages behind" in worker(fresh_topics).said
    assert worker(fresh_topics, most_lag=10).mend.endswith("docs/operations.md#consumerlag")
    reader.commit()
    assert "1 readers of headwater.events, 0 messages behind" in worker(fresh_topics).said
    reader.close()


def worker(settings: Settings, **limits: int) -> Finding:
    (found,) = [finding for finding in check_groups(settings, **limits) if GROUP in finding.said]
    return found


def test_state_of_another_broker(fresh_topics: Settings) -> None:
    path = state_path(fresh_topics.stores.sessions_dir, 1)
    PartitionState(path).close()
    assert wrongs(check_positions(fresh_topics)) == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE applied SET offset = 41")
        connection.commit()
    (found,) = wrongs(check_positions(fresh_topics))
    assert found.said.startswith("partition 1 of headwater.events ends at 0, its state has applied 41")
