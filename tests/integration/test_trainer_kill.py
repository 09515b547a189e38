"""The ledger of the trainer: killed three times in the middle of 24,000 examples, it has learnt each exactly once."""

from __future__ import annotations

import math
import random
import urllib.request
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from exporters.deltas import DEFAULT_MODEL as MODEL
from exporters.registry import Registry
from feature_store.vectors import NAMES
from streamer import examples, topics
from streamer.broker import free_port
from streamer.examples import Example, History, Position
from streamer.processes import Child
from streamer.scrape import Scrape
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]

EXAMPLES, USERS, ITEMS = 24_000, 400, 200
KILL_AFTER = 5_000  # examples that each killed process has learnt
RESENT = 300  # what a worker that crashes writes again
HALF_LIFE_SECONDS = 7 * 86_400
START_MS = 1_600_000_000_000
CHEAP = {
    "LEARNING__CATALOG_ROWS": "512",
    "LEARNING__DIMENSION": "8",
    "LEARNING__BATCH_EXAMPLES": "512",
    "LEARNING__CANDIDATES": "20",
    "LEARNING__NEIGHBOURS": "20",
    "LEARNING__REPLAY_SHARE": "0",
    "LEARNING__SNAPSHOT_SECONDS": "2",
}


def made_examples(count: int, partitions: int, seed: int = 11) -> Iterator[Example]:
    """What workers write: each user's decisions in order, slates taken from and slates passed by."""
    draw = random.Random(seed)
    pasts: defaultdict[str, list[str]] = defaultdict(list)
    offsets = [0] * partitions
    for number in range(count):
        user_id, kind = f"u{draw.randrange(USERS)}", draw.random()
        partition = zlib.crc32(user_id.encode()) % partitions
        offsets[partition] += draw.randrange(3)  # 0: one event gave several examples; 2: one gave none
        source = Position(partition, offsets[partition], number)
        yield _example(draw, number, source, user_id, kind, pasts[user_id])


def _example(draw: random.Random, number: int, source: Position, user_id: str, kind: float, past: list[str]) -> Example:
    time_ms = START_MS + number * 20_000
    slate = [f"i{item}" for item in draw.sample(range(ITEMS), 8)]
    item_id = None if kind < 0.1 else slate[draw.randrange(8)] if kind < 0.3 else f"i{draw.randrange(ITEMS)}"
    times_ms = [time_ms - 60_000 * back for back in range(len(past[-30:]), 0, -1)]
    made = Example(
        example_id=f"x{number}",
        kind="interaction" if item_id else "impression",
        source=source,
        user_id=user_id,
        event_time_ms=time_ms,
        published_time_ms=time_ms,
        history=History(past[-30:], ["view"] * len(times_ms), times_ms),
        session_length=len(past),
        features=[1.0] + [0.0] * (len(NAMES) - 1),
        item_id=item_id,
        action="view" if item_id else None,
        slate=slate if kind < 0.3 else None,
        outcomes=[int(one == item_id) for one in slate] if kind < 0.3 else None,
    )
    if item_id:
        past.append(item_id)
    return made


@dataclass
class Ledger:
    """What an uninterrupted count over the examples gives, in plain Python."""

    learned: int = 0
    last: dict[int, Position] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)  # (item, the next one)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)  # (item, one of the ten before it), both ways
    popular: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        self.learned += 1
        self.last[example.source.partition] = example.source
        item_id = example.item_id
        if item_id is None:
            return
        self.taken[item_id] += 1
        age_seconds = (START_MS + EXAMPLES * 20_000 - example.event_time_ms) / 1_000
        self.popular[item_id] += 2 ** (-age_seconds / HALF_LIFE_SECONDS)  # type: ignore[assignment]
        before = example.history.item_ids
        if before and before[-1] != item_id:
            self.steps[before[-1], item_id] += 1
        for partner in set(before[-10:]) - {item_id}:
            self.pairs[partner, item_id] += 1
            self.pairs[item_id, partner] += 1


def publish(settings: Settings, made: Iterator[Example], ledger: Ledger, crash_every: int = 9_000) -> int:
    """Write the examples as a worker does that crashes now and then; returns how many were written twice."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", linger_ms=20)
    latest: list[Example] = []
    again = 0

    def send(example: Example) -> None:
        key, value = example.user_id.encode(), examples.encode(example)
        producer.send(topics.EXAMPLES.name, key=key, value=value, partition=example.source.partition)

    for number, example in enumerate(made, start=1):
        send(example)
        ledger.add(example)
        latest = [*latest[1 - RESENT :], example]
        if number % crash_every == 0:
            again += len(latest)
            for one in latest:
                send(one)
    producer.flush()
    producer.close()
    return again


class TrainerProcess:
    """`headwater train`, its metrics and its snapshots."""

    def __init__(self, settings: Settings, log: Path, port: int) -> None:
        self.settings, self.port = settings, port
        environment = {
            "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "STORES__STATE_DIR": str(settings.stores.state_dir),
            "METRICS_PORT": str(port),
        }
        named = {f"HEADWATER_{name}": value for name, value in {**environment, **CHEAP}.items()}
        self.child = Child(["train"], named, log)

    def learned(self) -> float:
        """Examples that this process has learnt; 0 before it answers."""
        self.child.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                return Scrape.parse(answer.read().decode()).total("headwater_examples_learned_total")
        except OSError:
            return 0.0

    def snapshot(self) -> dict[str, Any] | None:
        """State of the latest snapshot."""
        latest = SnapshotStore(self.settings.stores.snapshots_dir / MODEL).latest()
        return None if latest is None else latest.state

    def saved(self) -> int:
        """Examples that the latest snapshot holds."""
        state = self.snapshot()
        return 0 if state is None else int(state["student"]["learned"])


@pytest.fixture
def start_trainer(tmp_path: Path) -> Iterator[Callable[[Settings], TrainerProcess]]:
    """Start `headwater train` processes that end with the test."""
    started: list[TrainerProcess] = []

    def start(settings: Settings) -> TrainerProcess:
        started.append(TrainerProcess(settings, tmp_path / f"trainer-{len(started)}.log", free_port()))
        return started[-1]

    yield start
    for trainer in started:
        trainer.child.stop(within_seconds=5)


def test_three_kills_while_it_learns(
    fresh_topics: Settings,
    start_trainer: Callable[[Settings], TrainerProcess],
    wait_until: Callable[..., None],
    read_topic: Callable[[str], list[Any]],
) -> None:
    settings, ledger = fresh_topics, Ledger()
    twice = publish(settings, made_examples(EXAMPLES, settings.kafka.partitions), ledger)

    killed_at, resumed_from = [], [0]
    for _ in range(3):
        trainer = start_trainer(settings)
        wait_until(lambda trainer=trainer: trainer.learned() >= KILL_AFTER, f"{KILL_AFTER} are learnt", 180, 0.02)
        trainer.child.kill()
        killed_at.append(int(resumed_from[-1] + KILL_AFTER))
        resumed_from.append(trainer.saved())
    assert sorted(set(resumed_from)) == resumed_from, "every process has got further than the one before it"
    assert resumed_from[-1] < EXAMPLES, "the last kill came after the end"
    trainer = start_trainer(settings)
    missing = EXAMPLES - resumed_from[-1]
    wait_until(lambda: trainer.learned() >= missing, f"the other {missing} are learnt", 180)
    assert trainer.learned() == missing, "something was learnt twice"
    wait_until(lambda: trainer.saved() == EXAMPLES and _all_read(trainer, read_topic), "all of it is saved", 60, 0.5)
    trainer.child.stop()

    state = trainer.snapshot()
    assert state is not None
    check_counters(state, ledger, twice)
    check_counts(state["student"]["memory"], ledger)
    steps = [version.step for version in published(settings)]
    assert steps[-1] == EXAMPLES and set(steps) > {EXAMPLES}
    print(f"\nresumed from {resumed_from}; {twice} examples were on the topic twice")


def _all_read(trainer: TrainerProcess, read_topic: Callable[[str], list[Any]]) -> bool:
    ends: dict[str, int] = {}
    for record in read_topic(topics.EXAMPLES.name):
        ends[str(record.partition)] = record.offset
    state = trainer.snapshot()
    return state is not None and state["offsets"] == ends


def check_counters(state: dict[str, Any], ledger: Ledger, twice: int) -> None:
    student = state["student"]
    assert student["learned"] == ledger.learned == EXAMPLES
    assert {int(n): Position(*parts) for n, parts in student["memory"]["positions"].items()} == ledger.last
    assert student["memory"]["duplicates"] == twice


def check_counts(memory: dict[str, Any], ledger: Ledger) -> None:
    """Counts of every counting learner, by item: what an uninterrupted run counts, to the last one."""
    catalog, counting = memory["catalog"], memory["counting"]
    ids = dict(zip(np.asarray(catalog["rows"]).tolist(), catalog["ids"], strict=True))
    for name in ("item_knn", "cooccurrence"):
        assert _by_item(ids, counting[name]["item_counts"]) == ledger.taken, name
    outgoing: Counter[str] = Counter()
    for (before, _), count in ledger.steps.items():
        outgoing[before] += count
    assert _by_item(ids, counting["transitions"]["item_counts"]) == outgoing
    assert _pairs(ids, counting["transitions"]) == ledger.steps
    assert _pairs(ids, counting["item_knn"]) == ledger.pairs
    shares = _by_item(ids, counting["popularity"]["counts"])
    total, expected = math.fsum(shares.values()), math.fsum(ledger.popular.values())
    assert {item: value / total for item, value in shares.items()} == pytest.approx(
        {item: value / expected for item, value in ledger.popular.items()}
    )


def _by_item(ids: dict[int, str], counts: Any) -> dict[str, float]:
    return {ids[row]: count for row, count in enumerate(np.asarray(counts).tolist()) if count}


def _pairs(ids: dict[int, str], state: dict[str, Any]) -> dict[tuple[str, str], float]:
    items, counts = np.asarray(state["items"]), np.asarray(state["counts"])
    return {
        (ids[row], ids[int(items[row, slot])]): float(counts[row, slot])
        for row, slot in zip(*(place.tolist() for place in counts.nonzero()), strict=True)
    }


def published(settings: Settings) -> list[Any]:
    """Manifests of the versions on disk, oldest first."""
    registry = Registry(settings.stores.models_dir)
    found = [registry.manifest(MODEL, version) for version in registry.versions(MODEL)]
    return sorted(found, key=lambda version: version.number)


def test_a_restart_goes_on_with_the_weights_it_had(
    fresh_topics: Settings, start_trainer: Callable[[Settings], TrainerProcess], wait_until: Callable[..., None]
) -> None:
    settings, ledger = fresh_topics, Ledger()
    publish(settings, made_examples(2_000, settings.kafka.partitions), ledger)
    first = start_trainer(settings)
    wait_until(lambda: first.saved() == 2_000, "everything is saved", 120)
    first.child.stop()
    state, before = first.snapshot(), published(settings)[-1]
    assert state is not None and before.step == 2_000

    second = start_trainer(settings)
    wait_until(lambda: published(settings)[-1].number > before.number, "the restarted trainer has published", 120)
    second.child.check()
    after = published(settings)[-1]
    assert after.step >= state["student"]["learned"]
    registry = Registry(settings.stores.models_dir)
    old, new = (registry.tables(MODEL, version.version) for version in (before, after))
    assert new.item_ids == old.item_ids
    weights = np.asarray(state["student"]["network"]["ranker"]["items.weight"])
    assert np.array_equal(new.arrays["item_vectors"], weights[: len(new.item_ids)])
    for name in ("item_knn", "cooccurrence", "transitions", "popularity"):
        assert new.arrays[f"{name}.items"].any(), f"{name} is empty: who loads this version finds no candidates"
    for name in ("cooccurrence.items", "transitions.weights", "popularity.items"):
        assert np.array_equal(new.arrays[name], old.arrays[name]), name
