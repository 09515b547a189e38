"""The ledger: a worker killed three times in the middle of 30,000 events does what one that never stopped would do."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer

from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from streamer import dead_letter, examples, topics
from streamer.effects import Record
from streamer.examples import Example
from streamer.pipeline import SessionPipeline
from streamer.settings import Sessions, Settings, Stores
from streamer.state import PartitionState, state_path

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]

EVENTS = 30_000
USERS = 800
KILL_AFTER = (5_000, 13_000, 22_000)
HOUR_MS = 3_600_000
START_MS = 1_600_000_000_000


def messages(seed: int = 5) -> Iterator[tuple[str, bytes]]:
    """Clicks, slates, repeated ids, events out of order and bad records."""
    random_ = random.Random(seed)
    recent: list[tuple[str, bytes]] = []
    for number in range(EVENTS):
        user_id, kind = f"u{random_.randrange(USERS)}", random_.random()
        if kind < 0.02 and recent:
            yield random_.choice(recent)
        elif kind < 0.03:
            yield user_id, b"{broken %d" % number
        else:
            message = user_id, json.dumps(_event(random_, number, user_id, kind)).encode()
            recent = [*recent[-50:], message]
            yield message


def _event(random_: random.Random, number: int, user_id: str, kind: float) -> dict[str, Any]:
    time_ms = START_MS + number * 60_000 - random_.choice((0, 0, 0, 0, random_.randrange(24 * HOUR_MS)))
    event: dict[str, Any] = {"event_id": f"e{number}", "user_id": user_id, "event_time_ms": time_ms}
    if kind < 0.2:
        slate = [f"i{item}" for item in random_.sample(range(300), 10)]
        return event | {"type": "impression", "impression_id": f"s{number}", "items": slate}
    return event | {"type": "interaction", "item_id": f"i{random_.randrange(300)}", "action": "click"}


@dataclass
class Ledger:
    """What an uninterrupted run over the same records gives."""

    examples: dict[int, list[Example]] = field(default_factory=lambda: defaultdict(list))
    users: dict[str, UserState] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    logged: set[tuple[int, int]] = field(default_factory=set)
    event_ids: set[str] = field(default_factory=set)


def uninterrupted(settings: Settings, records: list[Any]) -> Ledger:
    """Run the pipeline in this process, without Kafka, over what lies on the events topic."""
    ledger = Ledger()
    by_partition: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(Record(record.offset, record.timestamp, record.key, record.value))
    for number, part in by_partition.items():
        state = PartitionState(state_path(settings.stores.sessions_dir, number))
        effects = SessionPipeline(number, state, {}, settings).process(part)
        assert effects is not None
        state.close()
        sent = (one.value for one in effects.messages if one.topic == topics.EXAMPLES.name)
        ledger.examples[number] = [examples.decode(value) for value in sent]
        ledger.users |= {user.user_id: user for user in effects.states}
        ledger.counters += effects.counters
        ledger.logged |= {(number, entry.offset) for entry in effects.log}
        ledger.event_ids |= set(effects.event_ids)
    return ledger


def first_sightings(records: list[Any]) -> dict[int, list[Example]]:
    """Read examples as a learner does: whatever is not above the last position of its partition is skipped."""
    found: defaultdict[int, list[Example]] = defaultdict(list)
    for record in records:
        example = examples.decode(record.value)
        of_partition = found[example.source.partition]
        if not of_partition or example.source > of_partition[-1].source:
            of_partition.append(example)
    return found


def test_three_kills_while_it_works(
    fresh_topics: Settings,
    tmp_path: Path,
    start_worker: Callable[[Settings], Any],
    read_topic: Callable[[str], list[Any]],
) -> None:
    # slates close by event time only: a sweep by the clock would depend on how long this test takes
    settings = fresh_topics.model_copy(update={"sessions": Sessions(impression_window_seconds=10 * 3_600)})
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", linger_ms=20)
    for key, value in messages():
        producer.send(topics.EVENTS.name, key=key.encode(), value=value)
    producer.flush()
    producer.close()

    killed_at = []
    for threshold in KILL_AFTER:
        worker = start_worker(settings)
        worker.wait_for_some(threshold)
        worker.kill()
        killed_at.append(worker.applied())
    assert killed_at[-1] < EVENTS, "the last kill came after the end"
    worker = start_worker(settings)
    worker.wait_for(EVENTS, timeout_seconds=300)
    assert worker.stop() == 0

    ledger = uninterrupted(
        settings.model_copy(update={"stores": Stores(state_dir=tmp_path / "ledger")}), read_topic(topics.EVENTS.name)
    )
    check_counters(settings, ledger)
    written = read_topic(topics.EXAMPLES.name)
    assert first_sightings(written) == ledger.examples
    check_online_store(settings, ledger)
    check_event_log(settings, ledger)
    letters = [letter for _, letter in dead_letter.read(settings.kafka.bootstrap_servers)]
    assert len({(letter.partition, letter.offset) for letter in letters}) == ledger.counters["dead_letter"]
    total = sum(len(part) for part in ledger.examples.values())
    print(f"\nkilled at {killed_at}; {total} examples, {len(written) - total} of them written twice")


def check_counters(settings: Settings, ledger: Ledger) -> None:
    counters: Counter[str] = Counter()
    for number in range(settings.kafka.partitions):
        state = PartitionState(state_path(settings.stores.sessions_dir, number))
        counters += state.counters()
        state.close()
    assert counters == +ledger.counters
    assert counters["consumed"] + counters["dead_letter"] == EVENTS
    assert sum(user.total_events for user in ledger.users.values()) == len(ledger.event_ids)


def check_online_store(settings: Settings, ledger: Ledger) -> None:
    store = OnlineStore.open(settings.stores.feast_dir)
    try:
        assert {user_id: store.read(user_id) for user_id in ledger.users} == ledger.users
    finally:
        store.close()


def check_event_log(settings: Settings, ledger: Ledger) -> None:
    rows: Counter[tuple[int, int]] = Counter()
    ids: Counter[str] = Counter()
    for path in settings.stores.event_log_dir.rglob("*.parquet"):
        table = pq.ParquetFile(path).read(["partition", "offset", "event_id"]).to_pydict()
        rows.update(zip(table["partition"], table["offset"], strict=True))
        ids.update(table["event_id"])
    assert set(rows) == ledger.logged and max(rows.values()) == 1
    assert set(ids) == ledger.event_ids and max(ids.values()) == 1
