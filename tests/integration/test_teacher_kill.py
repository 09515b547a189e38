"""The ledger of the teacher: killed while it labels and while it refreshes, every example has exactly one label.

And the labels are those of a teacher that was never killed, bit for bit.
"""

from __future__ import annotations

import random
import time
import urllib.request
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from kafka import KafkaProducer
from typer.testing import CliRunner

from exporters import announcements
from feature_store.vectors import NAMES
from streamer import examples, soft_labels, topics
from streamer.broker import free_port
from streamer.cli import app
from streamer.examples import Example, History, Position
from streamer.processes import Child
from streamer.scrape import Scrape
from streamer.settings import Settings, Stores
from streamer.snapshots import SnapshotStore
from streamer.soft_labels import SoftLabel
from streamer.teacher import MODEL, Teacher
from streamer.teacher_labels import Received

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]

USERS, ITEMS = 60, 80
FIRST, LATER = 2_400, 200
KILL_AFTER = 500  # labels that each process writes before it is killed
RESENT = 150  # what a worker that crashes writes again
START_MS = 1_600_000_000_000
CHEAP = {
    "LEARNING__CATALOG_ROWS": "128",
    "LEARNING__DIMENSION": "8",
    "LEARNING__CANDIDATES": "20",
    "LEARNING__NEIGHBOURS": "20",
    "TEACHER__SNAPSHOT_SECONDS": "1",
    "TEACHER__SEGMENT_EXAMPLES": "128",
    "TEACHER__WINDOW_EXAMPLES": "1500",
    "TEACHER__FIRST_REFRESH_EXAMPLES": "400",
    "TEACHER__REFRESH_SECONDS": "3",
    "TEACHER__MOST_REFRESH_SECONDS": "3",  # bounds every refresh: the epochs would take far longer
    "TEACHER__EPOCHS": "1000",
    "TEACHER__NICE": "0",
}


def made_examples(count: int, partitions: int, seed: int = 5) -> list[Example]:
    """What workers write: each user's decisions in order, some of them taken from slates."""
    draw = random.Random(seed)
    pasts: defaultdict[str, list[str]] = defaultdict(list)
    return [_example(draw, number, f"u{draw.randrange(USERS)}", partitions, pasts) for number in range(count)]


def _example(
    draw: random.Random, number: int, user_id: str, partitions: int, pasts: defaultdict[str, list[str]]
) -> Example:
    time_ms, past, kind = START_MS + number * 20_000, pasts[user_id], draw.random()
    slate = [f"i{item}" for item in draw.sample(range(ITEMS), 8)] if kind < 0.3 else None
    item_id = None if kind < 0.1 else slate[draw.randrange(8)] if slate else f"i{draw.randrange(ITEMS)}"
    made = Example(
        example_id=f"x{number}",
        kind="interaction" if item_id else "impression",
        source=Position(zlib.crc32(user_id.encode()) % partitions, number),
        user_id=user_id,
        event_time_ms=time_ms,
        published_time_ms=time_ms,
        history=History(past[-10:], ["view"] * len(past[-10:]), [time_ms - 60_000] * len(past[-10:])),
        session_length=len(past),
        features=[1.0] + [0.0] * (len(NAMES) - 1),
        item_id=item_id,
        action=draw.choice(["view", "like"]) if item_id else None,
        slate=slate,
        outcomes=[int(one == item_id) for one in slate] if slate else None,
    )
    if item_id:
        past.append(item_id)
    return made


def publish(settings: Settings, made: list[Example]) -> None:
    """Write examples to the partition of their user."""
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, acks="all", linger_ms=20)
    for one in made:
        key, partition = one.user_id.encode(), one.source.partition
        producer.send(topics.EXAMPLES.name, key=key, value=examples.encode(one), partition=partition)
    producer.flush()
    producer.close()


class TeacherProcess:
    """`headwater teach`, its metrics, its log and its snapshots."""

    def __init__(self, settings: Settings, log: Path, port: int) -> None:
        self.settings, self.port, self.log = settings, port, log
        environment = {
            "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "STORES__STATE_DIR": str(settings.stores.state_dir),
            "METRICS_PORT": str(port),
        }
        named = {f"HEADWATER_{name}": value for name, value in {**environment, **CHEAP}.items()}
        self.child = Child(["teach"], named, log)

    def scraped(self) -> Scrape:
        """Return its metrics; none before it answers."""
        self.child.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                return Scrape.parse(answer.read().decode())
        except OSError:
            return Scrape.parse("")

    def written(self) -> float:
        """Labels that this process has written."""
        return self.scraped().total("headwater_soft_labels_written_total")

    def refreshing(self) -> bool:
        """Whether a refresh has begun and not come to its end."""
        text = self.log.read_text()
        return text.rfind("a refresh begins") > max(text.rfind("refresh adopted"), text.rfind("refresh dropped"))

    def refreshes_begun(self) -> int:
        """How many refreshes this process has begun."""
        return self.log.read_text().count("a refresh begins")

    def snapshot(self) -> dict[str, Any]:
        """State of the latest snapshot."""
        latest = SnapshotStore(self.settings.stores.snapshots_dir / MODEL).latest()
        assert latest is not None
        return dict(latest.state)

    def version(self) -> str:
        """Version in the latest snapshot."""
        return f"{MODEL}-{self.snapshot()['teacher']['number']:06d}"


@pytest.fixture
def start_teacher(tmp_path: Path) -> Iterator[Callable[[Settings], TeacherProcess]]:
    """Start `headwater teach` processes that end with the test."""
    started: list[TeacherProcess] = []

    def start(settings: Settings) -> TeacherProcess:
        started.append(TeacherProcess(settings, tmp_path / f"teacher-{len(started)}.log", free_port()))
        return started[-1]

    yield start
    for teacher in started:
        teacher.child.stop(within_seconds=10)


@pytest.fixture
def labels(read_topic: Callable[[str], list[Any]]) -> Callable[[], list[list[SoftLabel]]]:
    """Read all labels, by partition of their topic, in order."""

    def read() -> list[list[SoftLabel]]:
        found: defaultdict[int, list[SoftLabel]] = defaultdict(list)
        for record in read_topic(topics.SOFT_LABELS.name):
            label = soft_labels.decode(record.value)
            assert record.key == label.key
            found[record.partition].append(label)
        return list(found.values())

    return read


def test_kills_while_it_labels_and_while_it_refreshes(
    fresh_topics: Settings,
    start_teacher: Callable[[Settings], TeacherProcess],
    wait_until: Callable[..., None],
    labels: Callable[[], list[list[SoftLabel]]],
    read_topic: Callable[[str], list[Any]],
    tmp_path: Path,
) -> None:
    settings = fresh_topics
    made = made_examples(FIRST + LATER, settings.kafka.partitions)
    publish(settings, made[:FIRST] + made[FIRST - RESENT : FIRST])

    for _ in range(2):
        teacher = start_teacher(settings)
        wait_until(lambda teacher=teacher: teacher.written() >= KILL_AFTER, "it labels", 120, 0.02)
        teacher.child.kill()
        assert sum(map(len, labels())) < FIRST, "the kill came after the end"

    teacher = start_teacher(settings)
    wait_until(lambda: sum(map(len, labels())) >= FIRST, "all have their label", 120, 0.5)
    begun = teacher.refreshes_begun()  # one that runs already may be close to its end
    wait_until(lambda: teacher.refreshes_begun() > begun and teacher.refreshing(), "a refresh begins", 60, 0.02)
    time.sleep(0.5)
    teacher.child.kill()
    assert teacher.refreshing(), "the refresh came to its end before the kill"
    before = teacher.version()

    teacher = start_teacher(settings)
    wait_until(lambda: teacher.scraped().total("headwater_teacher_refreshes_total") >= 1, "a refresh is whole", 120)
    publish(settings, made[FIRST:])
    wait_until(lambda: teacher.written() >= LATER, "the later ones have their label", 120)
    teacher.child.stop()

    found = labels()
    check_once(made, [label for part in found for label in part], read_topic(topics.EXAMPLES.name))
    for part in found:
        versions = [label.version for label in part]
        assert versions == sorted(versions), "a version came back"
    assert before <= teacher.version() == max(label.version for part in found for label in part)
    assert teacher.snapshot()["teacher"]["labelled"] == FIRST + LATER
    check_announced(read_topic(topics.MODELS.name), teacher.version())
    check_window(settings, teacher.snapshot()["teacher"]["window"])
    check_never_killed(made, [label for part in found for label in part], tmp_path)


def check_never_killed(made: list[Example], found: list[SoftLabel], folder: Path) -> None:
    """A teacher that takes the same micro-batches one after the other says the same, until a refresh took over."""
    by_id = {example.example_id: example for example in made}
    batches: defaultdict[int, list[SoftLabel]] = defaultdict(list)
    for label in found:
        if label.version == f"{MODEL}-000001":
            batches[label.learnt].append(label)
    settings = cheap_settings(folder)
    torch.set_num_threads(settings.teacher.threads)
    teacher, compared = Teacher(settings), 0
    for learnt in sorted(batches)[:60]:
        written = sorted(batches[learnt], key=lambda label: (label.partition, label.offset))
        same = teacher.take([Received(one.partition, one.offset, by_id[one.example_id]) for one in written])
        assert teacher.labelled == learnt + len(same), "an example was left out"
        assert [(one.item_ids, one.logits, one.tasks) for one in same] == [
            (one.item_ids, one.logits, one.tasks) for one in written
        ], f"the labels that were given after {learnt} examples"
        compared += len(same)
    assert compared >= 400


def cheap_settings(folder: Path) -> Settings:
    """Settings of the processes of this test, for a teacher in this one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CHEAP.items():
            patch.setenv(f"HEADWATER_{name}", value)
        return Settings(stores=Stores(state_dir=folder / "never-killed"))


def check_once(made: list[Example], found: list[SoftLabel], records: list[Any]) -> None:
    """Every example has one label, whatever has happened, and the label says where the example lies."""
    assert Counter(label.example_id for label in found) == Counter(example.example_id for example in made)
    lies: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for record in records:
        lies[examples.decode(record.value).example_id].add((record.partition, record.offset))
    for label in found:
        assert (label.partition, label.offset) in lies[label.example_id]


def check_announced(records: list[Any], latest: str) -> None:
    """Versions are announced in their order, with the loss that they were judged by."""
    told = [announcements.decode(record.value) for record in records]
    adopted = [one for one in told if one.name == MODEL and one.kind == "published"]
    versions = [one.version for one in adopted]
    assert versions == sorted(set(versions)) and (not versions or versions[-1] == latest)
    assert all(one.metrics["held_out_loss_after"] <= one.metrics["held_out_loss_before"] for one in adopted)


def check_window(settings: Settings, window: dict[str, Any]) -> None:
    """The window is bounded, and no file is left that no snapshot names."""
    assert sum(examples for _, examples in window["segments"]) <= int(CHEAP["TEACHER__WINDOW_EXAMPLES"])
    names = {path.stem for path in (settings.stores.state_dir / "teacher-window").iterdir()}
    assert {f"segment-{number:012d}" for number, _ in window["segments"]} <= names
    assert len(names) < 2 * len(window["segments"]) + 10


def test_a_refresh_comes_when_it_is_asked_for(
    fresh_topics: Settings,
    start_teacher: Callable[[Settings], TeacherProcess],
    wait_until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = fresh_topics
    monkeypatch.setitem(CHEAP, "TEACHER__FIRST_REFRESH_EXAMPLES", "100000")
    monkeypatch.setitem(CHEAP, "TEACHER__EPOCHS", "1")
    monkeypatch.setitem(CHEAP, "TEACHER__LEARNS", "false")
    publish(settings, made_examples(600, settings.kafka.partitions))
    teacher = start_teacher(settings)
    wait_until(lambda: teacher.written() == 600, "all have their label", 120)
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    result = CliRunner().invoke(app, ["teach", "--refresh"], catch_exceptions=False)
    assert result.exit_code == 0 and "asked" in result.output
    wait_until(lambda: teacher.scraped().total("headwater_teacher_refreshes_total") == 1, "it has refreshed", 60)
    assert teacher.scraped().total("headwater_teacher_refreshes_asked_total") == 1
    teacher.child.stop()
