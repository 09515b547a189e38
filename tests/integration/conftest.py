"""Topics of their own for a test, worker processes, and what lies on a topic."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from streamer import topics
from streamer.model_names import GROUP as TRAINER_GROUP
from streamer.model_names import named
from streamer.settings import Settings
from streamer.state import state_path
from streamer.teacher_app import GROUP as TEACHER_GROUP
from streamer.workers import GROUP


@pytest.fixture
def fresh_topics(settings: Settings) -> Settings:
    """Settings of a broker whose topics are empty: what an earlier test left is deleted."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        names = [topic.name for topic in topics.ALL if topic.name in set(admin.list_topics())]
        if names:
            admin.delete_topics(names)
            wait_until(lambda: not set(names) & set(admin.list_topics()), "the topics are deleted", 30)
        for group in (GROUP, TEACHER_GROUP, TRAINER_GROUP, named(TRAINER_GROUP, "caser")):
            try:
                admin.delete_groups([group])
            except KafkaError:
                pass  # there was none
    finally:
        admin.close()
    topics.create_topics(settings)
    return settings


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[Settings], Worker]]:
    """Start `headwater worker` processes that end with the test."""
    workers: list[Worker] = []

    def start(settings: Settings) -> Worker:
        workers.append(Worker(settings, tmp_path / f"worker-{len(workers)}.log"))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


class Worker:
    """One `headwater worker` process and the files that it keeps."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log
        environment = os.environ | {
            "HEADWATER_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "HEADWATER_STORES__STATE_DIR": str(settings.stores.state_dir),
            "HEADWATER_SESSIONS__IMPRESSION_WINDOW_SECONDS": str(settings.sessions.impression_window_seconds),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", "from streamer.cli import main; main()", "worker"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def applied(self) -> int:
        """How many records of the events topic the state files have applied, all partitions together."""
        return sum(self._read("SELECT offset + 1 FROM applied"))

    def undelivered(self) -> int:
        """How much lies in the outboxes."""
        query = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM dirty_users)"
        return sum(self._read(query))

    def applied_of(self, partition: int) -> int:
        """Last applied offset of one partition."""
        with closing(sqlite3.connect(state_path(self.settings.stores.sessions_dir, partition))) as connection:
            return int(connection.execute("SELECT offset FROM applied").fetchone()[0])

    def pretend_applied(self, partition: int, offset: int) -> None:
        """Put another offset into the state of a worker that does not run."""
        with closing(sqlite3.connect(state_path(self.settings.stores.sessions_dir, partition))) as connection:
            connection.execute("UPDATE applied SET offset = ?", (offset,))
            connection.commit()

    def wait_for(self, records: int, timeout_seconds: float = 120) -> None:
        """Wait until so many records are applied and everything is delivered."""
        self._wait(lambda: self.applied() >= records, f"{records} records are applied", timeout_seconds)
        self._wait(lambda: self.undelivered() == 0, "the outboxes are empty", timeout_seconds)

    def wait_for_some(self, records: int, timeout_seconds: float = 120) -> None:
        """Wait until at least so many records are applied, whatever is under way."""
        self._wait(lambda: self.applied() >= records, f"{records} records are applied", timeout_seconds, 0.01)

    def stop(self) -> int:
        """End it politely; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def _wait(
        self, condition: Callable[[], bool], what: str, timeout_seconds: float, every_seconds: float = 0.1
    ) -> None:
        def alive_or_done() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the worker ended with {self.process.returncode}: {self.log.read_text()[-3_000:]}"
                )
            return condition()

        try:
            wait_until(alive_or_done, what, timeout_seconds, every_seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}; it said: {self.log.read_text()[-3_000:]}") from None

    def _read(self, query: str) -> list[int]:
        found = []
        for number in range(self.settings.kafka.partitions):
            path = state_path(self.settings.stores.sessions_dir, number)
            if path.exists():
                try:
                    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
                        found.append(int((connection.execute(query).fetchone() or (0,))[0]))
                except sqlite3.OperationalError:  # the worker is just making the file
                    found.append(0)
        return found


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float, every_seconds: float = 0.1) -> None:
    """Look again and again until the condition holds."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{timeout_seconds:g} s have not been enough until {what}")
        time.sleep(every_seconds)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    """Look again and again until a condition holds."""
    return wait_until


@pytest.fixture
def read_topic(broker: str) -> Callable[[str], list[ConsumerRecord]]:
    """Read all records of a topic as it is now, partition by partition, in order."""

    def read(name: str) -> list[ConsumerRecord]:
        consumer = KafkaConsumer(bootstrap_servers=broker, group_id=None, enable_auto_commit=False)
        try:
            partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name) or ())]
            ends = consumer.end_offsets(partitions)
            consumer.assign(partitions)
            consumer.seek_to_beginning()
            found: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in partitions}
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                for partition, records in consumer.poll(timeout_ms=500).items():
                    found[partition] += records
            return [record for partition in partitions for record in found[partition]]
        finally:
            consumer.close()

    return read
