"""Two trainers of different families on one examples topic, both published to one server and served side by side."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from exporters.registry import Registry
from exporters.students import student_of_version
from feature_store.vectors import NAMES
from streamer import examples, topics
from streamer.examples import Example, History, Position
from streamer.model_names import GROUP, named
from streamer.processes import Child, stop_all
from streamer.serve import composed
from streamer.settings import Learning, Serving, Settings
from streamer.snapshots import SnapshotStore

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COUNT, USERS, ITEMS = 600, 20, 40
WAIT_SECONDS = 150
FAMILY = {"student": "session", "caser": "caser"}
SHARES = {"student": 0.5, "caser": 0.5}


@pytest.fixture
def both(fresh_topics: Settings) -> Settings:
    """Settings of a server for both students, on empty topics, with small tables."""
    learning = Learning(catalog_rows=64, dimension=8, neighbours=10, candidates=12)
    return fresh_topics.model_copy(update={"learning": learning, "serving": Serving(students=SHARES, port=0)})


@pytest.fixture
def start_trainer(both: Settings, tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    """Start ``headwater train --name … --family …``; all end with the test."""
    children: list[Child] = []
    values = {
        "KAFKA__BOOTSTRAP_SERVERS": both.kafka.bootstrap_servers,
        "STORES__STATE_DIR": str(both.stores.state_dir),
        "LEARNING__CATALOG_ROWS": "64",
        "LEARNING__DIMENSION": "8",
        "LEARNING__NEIGHBOURS": "10",
        "LEARNING__CANDIDATES": "12",
        "LEARNING__PUBLISH_DENSE_SECONDS": "1",
        "LEARNING__SNAPSHOT_SECONDS": "2",
    }

    def start(name: str) -> Child:
        arguments = ["train", "--name", name, "--family", FAMILY[name]]
        environment = {f"HEADWATER_{key}": value for key, value in values.items()}
        children.append(Child(arguments, environment, tmp_path / f"{name}.log"))
        return children[-1]

    yield start
    stop_all(children)


def write_examples(settings: Settings) -> None:
    """Put a stream of decisions on the examples topic, as workers do."""
    draw, producer = random.Random(5), KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all")
    pasts: defaultdict[str, list[str]] = defaultdict(list)
    start_ms = time.time_ns() // 1_000_000 - 1_000 * COUNT
    for number in range(COUNT):
        user_id, time_ms = f"u{draw.randrange(USERS)}", start_ms + 1_000 * number
        partition, past = zlib.crc32(user_id.encode()) % settings.kafka.partitions, pasts[user_id]
        item_id = f"i{draw.randrange(ITEMS)}"
        made = Example(
            example_id=f"x{number}",
            kind="interaction",
            source=Position(partition, number, 0),
            user_id=user_id,
            event_time_ms=time_ms,
            published_time_ms=time_ms,
            history=History(past[-20:], ["view"] * len(past[-20:]), [time_ms - 1_000] * len(past[-20:])),
            session_length=len(past),
            features=[1.0] + [0.0] * (len(NAMES) - 1),
            item_id=item_id,
            action="view",
        )
        past.append(item_id)
        producer.send(topics.EXAMPLES.name, key=user_id.encode(), value=examples.encode(made), partition=partition)
    producer.flush()
    producer.close()


async def until(look: Callable[[], bool], what: str, children: list[Child]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not look():
        for child in children:
            child.check()
        assert time.monotonic() < deadline, f"{WAIT_SECONDS} s were not enough until {what}"
        await asyncio.sleep(0.2)


async def answers(client: httpx.AsyncClient) -> dict[str, str]:
    """Ask for every user; returns which student's version answered."""
    found = {}
    for number in range(USERS):
        body = {"user_id": f"u{number}", "log": False, "exclude_seen": False, "deadline_ms": 20_000}
        document = (await client.post("/recommend", json=body)).json()
        assert document["items"] and not document["fallback"], document
        assert student_of_version(document["model_version"]) == document["student"]
        found[f"u{number}"] = document["student"]
    return found


def learned(settings: Settings, name: str) -> int:
    """How many examples a student's newest published version has learnt."""
    registry = Registry(settings.stores.models_dir)
    pointer = registry.current(name)
    return registry.manifest(name, pointer.version).step if pointer else -1


async def test_two_families_learn_from_one_topic_and_are_served_side_by_side(
    both: Settings, start_trainer: Callable[[str], Child]
) -> None:
    write_examples(both)
    first = start_trainer("student")
    await until(lambda: learned(both, "student") == COUNT, "the session student has learnt", [first])
    async with (
        composed(both) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client,
    ):
        students = app.state.services.students
        await until(lambda: not app.state.services.not_ready(), "the server is ready", [first])
        assert set((await answers(client)).values()) == {"student"}, "it answers for both"

        second = start_trainer("caser")  # reads the topic from its beginning: it has a group of its own
        await until(lambda: learned(both, "caser") == COUNT, "the caser student has learnt", [first, second])
        newest = Registry(both.stores.models_dir).current("caser")
        assert newest is not None
        await until(lambda: students["caser"].host.version == newest.version, "it serves", [first, second])
        await until(lambda: len(students["caser"].tables.live_rows()) == ITEMS, "its rows are there", [first, second])
        found = await answers(client)
        assert found == {user: students.assignment.of(user) for user in found} and len(set(found.values())) == 2

        listed = (await client.get("/models")).json()
        assert {version["name"] for version in listed["versions"]} == set(SHARES)
        families = {version["name"]: version["meta"]["family"] for version in listed["versions"]}
        assert families == FAMILY
        one, other = (students[name].tables for name in SHARES)
        ids = [f"i{number}" for number in range(ITEMS)]
        assert (one.gather_vectors(one.rows(ids)) != other.gather_vectors(other.rows(ids))).any(1).all()
    stop_all([first, second])
    for name in SHARES:
        latest = SnapshotStore(both.stores.snapshots_dir / name).latest()
        assert latest is not None and latest.meta == {"model": name, "family": FAMILY[name]}
        assert committed(both, name) == COUNT, "each group has its own place in the topic"


def committed(settings: Settings, name: str) -> int:
    """Examples that a trainer's group has acknowledged."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        group = named(GROUP, name)
        offsets = admin.list_group_offsets({group: None})[group]
        return sum(meta.offset for partition, meta in offsets.items() if partition.topic == topics.EXAMPLES.name)
    finally:
        admin.close()
