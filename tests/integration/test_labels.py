"""Soft labels between processes: the store's writer killed again and again, students that follow and that come late."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from feature_store.vectors import NAMES
from streamer import examples, soft_labels, topics
from streamer.broker import free_port
from streamer.examples import Example, History, Position
from streamer.label_store import LabelStore
from streamer.processes import Child
from streamer.scrape import Scrape
from streamer.settings import Learning, Settings
from streamer.snapshots import SnapshotStore
from streamer.soft_labels import SoftLabel
from streamer.teacher import Teacher
from streamer.teacher_labels import Received

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LABELS, PARTITIONS = 40_000, 4
TAUGHT = 1_500  # examples of the students
CHEAP = {
    "LEARNING__CATALOG_ROWS": "256",
    "LEARNING__DIMENSION": "8",
    "LEARNING__CANDIDATES": "20",
    "LEARNING__NEIGHBOURS": "20",
    "LEARNING__SNAPSHOT_SECONDS": "1",
    "LABELS__FLUSH_SECONDS": "0.2",
    "LABELS__UPKEEP_SECONDS": "0.5",
    "LABELS__COMPACT_FILES": "4",
}


class Process:
    """A `headwater` command with its metrics."""

    def __init__(self, command: str, settings: Settings, log: Path, **more: str) -> None:
        self.port = free_port()
        environment = {
            "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "STORES__STATE_DIR": str(settings.stores.state_dir),
            "METRICS_PORT": str(self.port),
            **CHEAP,
            **more,
        }
        self.child = Child([command], {f"HEADWATER_{name}": value for name, value in environment.items()}, log)

    def total(self, name: str, **labels: str) -> float:
        """A metric's sum; 0 before the process answers."""
        self.child.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                return Scrape.parse(answer.read().decode()).total(name, **labels)
        except OSError:
            return 0.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start processes that end with the test."""
    started: list[Process] = []

    def start(command: str, settings: Settings, **more: str) -> Process:
        started.append(Process(command, settings, tmp_path / f"{command}-{len(started)}.log", **more))
        return started[-1]

    yield start
    for process in started:
        process.child.stop(within_seconds=10)


def producer_of(settings: Settings) -> KafkaProducer:
    return KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", linger_ms=20)


def publish_labels(settings: Settings, labels: list[SoftLabel]) -> None:
    with producer_of(settings) as producer:
        for label in labels:
            producer.send(topics.SOFT_LABELS.name, key=label.key, value=soft_labels.encode(label))


def made_labels(first: int, last: int) -> list[SoftLabel]:
    now_ms = time.time_ns() // 1_000_000
    draw = np.random.default_rng(first)
    return [
        SoftLabel(
            example_id=f"x{number}",
            version="teacher-000001",
            event_time_ms=now_ms,
            labelled_ms=now_ms,
            partition=number % PARTITIONS,
            offset=number,
            item_ids=[str(item) for item in draw.integers(0, 3_700, 20)],
            logits=[float(np.float32(value)) for value in np.sort(draw.normal(size=20))[::-1]],
            remainder=1.0,
            scored=170,
        )
        for number in range(first, last)
    ]


def stored_ids(settings: Settings) -> list[str]:
    return [label.example_id for labels in LabelStore(settings.stores.labels_dir).scan() for label in labels]


def test_the_writer_is_killed_and_no_label_is_lost_or_doubled(
    fresh_topics: Settings, run: Callable[..., Process], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    settings = fresh_topics
    folder = settings.stores.labels_dir
    waiting, killed_at = 0, []
    for kill in range(4):
        publish_labels(settings, made_labels(waiting, waiting + LABELS // 8))
        waiting += LABELS // 8
        process = run("labels", settings)
        wait_until(lambda process=process: process.total("headwater_labels_stored_total") > 0, "it writes", 60, 0.01)
        publish_labels(settings, made_labels(waiting, waiting + LABELS // 8))  # while it flushes and merges
        waiting += LABELS // 8
        time.sleep(0.15 * kill)
        process.child.kill()
        killed_at.append(len(stored_ids(settings)))
        assert len(set(stored_ids(settings))) == killed_at[-1], "readers see no label twice, whatever lies there"
    last = run("labels", settings)
    wait_until(lambda: len(stored_ids(settings)) >= LABELS, f"all {LABELS} are stored", 60, 0.5)
    wait_until(lambda: len(list(folder.glob("*/*.parquet"))) <= 4 * PARTITIONS, "files are merged", 30, 0.2)
    found = stored_ids(settings)
    assert len(found) == LABELS and set(found) == {f"x{number}" for number in range(LABELS)}
    last.child.stop()
    again = run("labels", settings)
    wait_until(lambda: again.total("headwater_label_files") > 0, "another has started", 60)
    time.sleep(1)
    assert len(stored_ids(settings)) == LABELS and again.total("headwater_labels_stored_total") == 0
    bytes_each = LabelStore(folder).stats(time.time_ns() // 1_000_000).bytes_per_label
    print(f"\nkilled with {killed_at} labels stored; {bytes_each:.0f} bytes a label")
    check_stats(settings, tmp_path, examples_known=False)


def check_stats(settings: Settings, tmp_path: Path, examples_known: bool) -> None:
    environment = {
        "HEADWATER_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "HEADWATER_STORES__STATE_DIR": str(settings.stores.state_dir),
    }
    path = tmp_path / "stats.json"
    child = Child(["labels", "--stats", "--json", str(path)], environment, tmp_path / "stats.log")
    child._process.wait(60)
    found = json.loads(path.read_text())
    assert found["rows"] == found["recent"] == len(stored_ids(settings))
    assert found["coverage_of_last_hour"] == (1.0 if examples_known else None)


@pytest.fixture
def taught(fresh_topics: Settings, tmp_path: Path) -> tuple[list[Example], list[SoftLabel]]:
    """Examples of now, on their topic, and what a real teacher says of them."""
    settings = fresh_topics
    made = list(made_examples(settings.kafka.partitions))
    sizes = Learning(catalog_rows=256, dimension=8, candidates=20, neighbours=20)
    stores = settings.stores.model_copy(update={"state_dir": tmp_path / "teacher"})
    teacher = Teacher(settings.model_copy(update={"learning": sizes, "stores": stores}))
    labels: list[SoftLabel] = []
    for first in range(0, len(made), 64):
        part = made[first : first + 64]
        labels += teacher.take([Received(one.source.partition, one.source.offset, one) for one in part])
    with producer_of(settings) as producer:
        for one in made:
            key, value = one.user_id.encode(), examples.encode(one)
            producer.send(topics.EXAMPLES.name, key=key, value=value, partition=one.source.partition)
    return made, labels


def made_examples(partitions: int) -> Iterator[Example]:
    draw = np.random.default_rng(5)
    pasts: dict[str, list[str]] = {}
    now_ms = time.time_ns() // 1_000_000
    for number in range(TAUGHT):
        user = int(draw.integers(100))
        past = pasts.setdefault(f"u{user}", [])
        item_id = f"i{(int(past[-1][1:]) + int(draw.integers(1, 3))) % 80}" if past else f"i{draw.integers(80)}"
        times_ms = [now_ms - 60_000 * back for back in range(len(past[-30:]), 0, -1)]
        yield Example(
            example_id=f"x{number}",
            kind="interaction",
            source=Position(user % partitions, number),
            user_id=f"u{user}",
            event_time_ms=now_ms,
            published_time_ms=now_ms,
            history=History(past[-30:], ["view"] * len(times_ms), times_ms),
            session_length=len(past),
            features=[1.0] + [0.0] * (len(NAMES) - 1),
            item_id=item_id,
            action="view",
        )
        past.append(item_id)


def joined(process: Process) -> float:
    return process.total("headwater_soft_label_joins_total", result="joined")


def state_of(settings: Settings) -> dict[str, Any] | None:
    latest = SnapshotStore(settings.stores.snapshots_dir / "student").latest()
    return None if latest is None else latest.state


def test_a_student_follows_the_topic_and_goes_on_after_a_kill(
    fresh_topics: Settings, taught: Any, run: Callable[..., Process], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    settings, (_, labels) = fresh_topics, taught
    publish_labels(settings, labels[: TAUGHT // 2])
    first = run("train", settings, LABELS__WAIT_SECONDS="120")
    wait_until(lambda: joined(first) >= TAUGHT // 4, "labels are joined", 120, 0.05)
    wait_until(lambda: _waiting(settings) > 0, "a snapshot holds batches that wait", 60)
    first.child.kill()
    before = state_of(settings)
    assert before is not None
    missing = _waiting(settings) + TAUGHT - before["student"]["learned"]
    publish_labels(settings, labels[TAUGHT // 2 :])
    second = run("train", settings, LABELS__WAIT_SECONDS="120")
    wait_until(lambda: joined(second) >= missing, f"the other {missing} are joined", 120)
    assert joined(second) == missing and second.total("headwater_soft_label_joins_total", result="missed") == 0
    wait_until(lambda: _waiting(settings) == 0, "a snapshot holds all of it", 30)
    second.child.stop()
    assert state_of(settings)["student"]["learned"] == TAUGHT


def _waiting(settings: Settings) -> int:
    state = state_of(settings)
    return 0 if state is None else sum(map(len, state["student"]["soft"]["waiting"]["example_ids"]))


def test_a_student_that_joins_late_needs_neither_teacher_nor_topic(
    fresh_topics: Settings, taught: Any, run: Callable[..., Process], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    settings, (_, labels) = fresh_topics, taught
    publish_labels(settings, labels)
    writer = run("labels", settings)
    wait_until(lambda: len(stored_ids(settings)) == TAUGHT, "all labels are stored", 60)
    check_stats(settings, tmp_path, examples_known=True)
    writer.child.stop()
    empty_labels_topic(settings, wait_until)
    time.sleep(1.1)  # the backlog is older than what a batch waits
    student = run("train", settings, LABELS__WAIT_SECONDS="1")
    wait_until(lambda: joined(student) >= TAUGHT, "the backlog is joined", 120)
    assert joined(student) == TAUGHT
    assert student.total("headwater_soft_label_coverage_ratio") == 1.0
    assert student.total("headwater_soft_label_agreement_ratio", depth="10") > 0


def empty_labels_topic(settings: Settings, wait_until: Callable[..., None]) -> None:
    """What retention does."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        admin.delete_topics([topics.SOFT_LABELS.name])
        wait_until(lambda: topics.SOFT_LABELS.name not in admin.list_topics(), "the topic is deleted", 30)
    finally:
        admin.close()
    topics.create_topics(settings)
