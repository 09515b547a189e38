"""Files, data sets and dead letters against a real broker, through the commands that people type."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from typer.testing import CliRunner

from streamer import dead_letter, topics
from streamer.cli import app
from streamer.errors import BrokerError, EventError
from streamer.events import decode
from streamer.publishing import Publisher
from streamer.settings import Settings
from streamer.topics import create_topics

pytestmark = pytest.mark.integration
T = 1_718_000_000_000
Run = Callable[..., Any]


@pytest.fixture
def run(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as a user would, with this test's settings."""
    create_topics(settings)
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def call(name: str, *arguments: str) -> Any:
        return CliRunner().invoke(app, [name, *arguments])

    return call


@pytest.fixture
def marker() -> str:
    """Tells this test's records from those of others: the broker is shared."""
    return uuid.uuid4().hex


def records(broker: str, topic: str, marker: str) -> list[Any]:
    """All records of the topic whose value holds the marker, partition by partition."""
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=None, enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    ends = consumer.end_offsets(partitions)
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    found: list[Any] = []
    while (batches := consumer.poll(timeout_ms=500)) or any(consumer.position(tp) < end for tp, end in ends.items()):
        for batch in batches.values():
            found.extend(record for record in batch if marker.encode() in record.value)
    consumer.close()
    return found


def interaction(marker: str, number: int, user: int) -> dict[str, Any]:
    return {
        "event_id": f"{marker}:{number}",
        "type": "interaction",
        "event_time_ms": T + number,
        "user_id": f"{marker}-u{user}",
        "item_id": "i",
        "action": "view",
    }


def test_a_file_is_published_by_user_in_order_and_bad_lines_are_named(
    run: Run, broker: str, tmp_path: Path, marker: str
) -> None:
    good = [json.dumps(interaction(marker, number, number % 7)) for number in range(500)]
    item = {"event_id": f"{marker}:item", "type": "item", "event_time_ms": T, "item_id": f"{marker}-i", "title": "T"}
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join([*good[:250], "{broken", *good[250:], json.dumps(item)]))
    result = run("publish", str(path), "--json", str(tmp_path / "counts.json"))
    assert result.exit_code == 1 and "events.jsonl:251: malformed_json" in result.output
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["published"] == {"headwater.events": 500, "headwater.items": 1}
    assert counts["refused"]["by_reason"] == {"malformed_json": 1}

    seen: dict[str, list[tuple[int, int]]] = {}
    for record in records(broker, topics.EVENTS.name, marker):
        event = decode(record.value)
        assert record.key == (event.user_id or "").encode()
        seen.setdefault(event.user_id or "", []).append((record.partition, event.event_time_ms))
    assert sum(map(len, seen.values())) == 500 and len(seen) == 7
    for places in seen.values():
        assert len({partition for partition, _ in places}) == 1
        assert places == sorted(places)
    assert [record.key for record in records(broker, topics.ITEMS.name, marker)] == [f"{marker}-i".encode()]


def test_a_csv_with_a_mapping_is_published(run: Run, broker: str, tmp_path: Path, marker: str) -> None:
    path = tmp_path / f"{marker}.csv"
    path.write_text(f"uid,movie,when\n{marker},5,1718000000\n")
    mapping = ["--map", "user_id=uid", "--map", "item_id=movie", "--map", "event_time_seconds=when"]
    result = run("publish", str(path), *mapping, "--set", "action=view")
    assert result.exit_code == 0, result.output
    (record,) = records(broker, topics.EVENTS.name, marker)
    assert decode(record.value).item_id == "5"


def test_a_replay_that_failed_goes_on_and_loses_nothing(run: Run, broker: str, tmp_path: Path, marker: str) -> None:
    path = tmp_path / f"{marker}.jsonl"
    path.write_text("\n".join(json.dumps(interaction(marker, number, number % 5)) for number in range(300)))
    first = run("replay", "--dataset", str(path), "--limit", "120", "--json", str(tmp_path / "first.json"))
    assert first.exit_code == 0, first.output
    second = run("replay", "--dataset", str(path), "--json", str(tmp_path / "second.json"))
    assert second.exit_code == 0, second.output
    report = json.loads((tmp_path / "second.json").read_text())
    assert (report["resumed_from"], report["published"], report["finished"]) == (120, {"interaction": 180}, True)
    ids = [decode(record.value).event_id for record in records(broker, topics.EVENTS.name, marker)]
    assert sorted(ids) == sorted(f"{marker}:{number}" for number in range(300))
    again = run("replay", "--dataset", str(path), "--restart")
    assert again.exit_code == 0
    assert len(records(broker, topics.EVENTS.name, marker)) == 600


def test_dead_letters_are_listed_shown_and_replayed(run: Run, broker: str, tmp_path: Path, marker: str) -> None:
    healed = json.dumps(interaction(marker, 1, 1)).encode()
    reason = f"test_{marker[:8]}"
    error = EventError(reason, f"because of {marker}")
    with Publisher(broker) as publisher:
        for offset, raw in enumerate((healed, b"{broken " + marker.encode(), b"\xff" + marker.encode())):
            letter = dead_letter.to_letter(error, raw, topic=topics.EVENTS.name, partition=0, offset=offset, key=b"k")
            publisher.send_raw(topics.DEAD_LETTER.name, *dead_letter.to_record(letter))
    listed = run("dead-letter", "list", "--reason", reason, "--json", str(tmp_path / "list.json"))
    assert listed.exit_code == 0, listed.output
    assert json.loads((tmp_path / "list.json").read_text()) == {"letters": 3, "reasons": {reason: 3}}
    assert len(list(dead_letter.read(broker, reason, limit=2))) == 2

    positions = [position for position, _ in dead_letter.read(broker, reason)]
    shown = run("dead-letter", "show", str(positions[2]))
    assert f"\\xff{marker}" in shown.output and "headwater.events[0]@2" in shown.output

    replayed = run("dead-letter", "replay", "--reason", reason, "--json", str(tmp_path / "replay.json"))
    assert replayed.exit_code == 0, replayed.output
    report = json.loads((tmp_path / "replay.json").read_text())
    assert report == {"sent": 1, "still_refused": 2, "truncated": 0, "reasons": {"malformed_json": 2}}
    (record,) = records(broker, topics.EVENTS.name, marker)
    assert (record.value, record.key) == (healed, b"k")


def test_a_letter_that_is_not_there(run: Run) -> None:
    result = run("dead-letter", "show", "999999999")
    assert isinstance(result.exception, BrokerError) and "no letter at offset" in str(result.exception)


def test_records_that_the_broker_refuses_are_an_error_at_the_flush(settings: Settings, broker: str) -> None:
    create_topics(settings)
    with pytest.raises(BrokerError, match="refused|cannot send"), Publisher(broker) as publisher:
        publisher.send_raw(topics.EVENTS.name, b"k", b"x" * 5_000_000)
        publisher.flush()


def test_a_topic_that_is_not_there_is_said(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.publishing.MAX_BLOCK_MS", 1_000)
    try:
        with Publisher(broker) as publisher:
            publisher.send_raw("headwater.no-such-topic", b"k", b"x")
    except BrokerError as error:
        assert "`headwater topics` creates the topics" in str(error)
    else:
        consumer = KafkaConsumer(bootstrap_servers=broker)
        assert "headwater.no-such-topic" in consumer.topics()
        consumer.close()
        pytest.skip("this broker makes missing topics by itself (the embedded one does)")
