"""The demo's processes: started with the settings of a laptop, watched, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp

from streamer import topics
from streamer.broker import free_port
from streamer.errors import HeadwaterError
from streamer.processes import Child, stop_all
from streamer.scrape import Scrape
from streamer.settings import Settings

READY_SECONDS = 120.0
CAUGHT_UP_SECONDS = 300.0
# They work all the time or in long stretches; the others must answer at once.
NICENESS = {"train": 10, "teach": 12, "labels": 12, "foundation": 19}
OWN_SETTINGS = {
    # a refresh of one pass over a short window takes some ten seconds of a core
    "teach": {
        "HEADWATER_TEACHER__NICE": "0",  # nice already
        "HEADWATER_TEACHER__WINDOW_EXAMPLES": "4000",
        "HEADWATER_TEACHER__EPOCHS": "1",
        "HEADWATER_TEACHER__SNAPSHOT_SECONDS": "15",
    },
    # the first training comes when there is something to learn, and all trainings are short
    "foundation": {
        "HEADWATER_FOUNDATION__FIRST_EVENTS": "5000",
        "HEADWATER_FOUNDATION__FIRST_EPOCHS": "5",
        "HEADWATER_FOUNDATION__REFRESH_SECONDS": "180",
    },
}
WITH_METRICS = ("worker", "train", "teach", "labels", "foundation")
ROWS_SECONDS = 1.0  # the embedded broker keeps every row for ever: half as many
FETCH_MAX_WAIT_MS = 20  # the embedded broker holds an empty fetch to its end, whatever comes meanwhile
_ACCOUNTED = ("events_consumed", "dead_letters", "duplicate_events")


class System:
    """All processes of a demo but the broker, as children, and their addresses.

    Parameters
    ----------
    broker
        Bootstrap servers.
    state
        Folder of their durable state and of their logs.
    port
        Of the server; 0 picks a free one.
    settings
        Of this process; the children read the same ones, but for what :meth:`start` sets.
    twin
        Whether a student without soft labels learns the same stream beside, so that the gain can be told.
    names
        The processes beside the server.
    environment
        More settings for all of them.
    """

    def __init__(
        self,
        broker: str,
        state: Path,
        port: int,
        settings: Settings,
        *,
        twin: bool = False,
        names: tuple[str, ...] = WITH_METRICS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.broker, self.state, self.settings, self.twin = broker, state, settings, twin
        self.names, self._environment = names, dict(environment or {})
        self.server = f"http://127.0.0.1:{port or free_port()}"
        self.ports = {name: free_port() for name in WITH_METRICS}
        self.children: list[Child] = []

    def start(self) -> None:
        """Create the topics and start the processes."""
        os.environ["HEADWATER_KAFKA__BOOTSTRAP_SERVERS"] = self.broker
        kafka = self.settings.kafka.model_copy(update={"bootstrap_servers": self.broker})
        topics.create_topics(self.settings.model_copy(update={"kafka": kafka}))
        for name in (*self.names, "serve"):
            arguments = [name, "--port", self.server.rsplit(":", 1)[1]] if name == "serve" else [name]
            environment = {
                "HEADWATER_KAFKA__BOOTSTRAP_SERVERS": self.broker,
                "HEADWATER_STORES__STATE_DIR": str(self.state),
                "HEADWATER_METRICS_PORT": str(self.ports.get(name, 0)),
                "HEADWATER_LEARNING__PUBLISH_ROWS_SECONDS": str(ROWS_SECONDS),
                "HEADWATER_KAFKA__FETCH_MAX_WAIT_MS": str(FETCH_MAX_WAIT_MS),
                "HEADWATER_KAFKA__PARTITIONS": str(self.settings.kafka.partitions),
                "HEADWATER_LEARNING__HARD_TWIN": str(self.twin).lower(),
                **OWN_SETTINGS.get(name, {}),
                **self._environment,
            }
            log = self.state / "logs" / f"{name}.log"
            self.children.append(Child(arguments, environment, log, NICENESS.get(name, 0)))

    def check(self) -> None:
        """Raise :class:`HeadwaterError` with the end of the log of a process that has ended."""
        for child in self.children:
            child.check()

    def stop(self) -> None:
        """End the processes."""
        stop_all(self.children)


class Probe:
    """Reads the processes' metrics and notices when one has ended."""

    def __init__(self, system: System, session: aiohttp.ClientSession) -> None:
        self.system, self.session = system, session
        self.parity_max_abs = 0.0

    async def scrape(self, name: str) -> Scrape:
        """Read the metrics of "serve" or of one of :data:`WITH_METRICS`.

        Raises
        ------
        HeadwaterError
            The process has ended or does not answer.
        """
        base = self.system.server if name == "serve" else f"http://127.0.0.1:{self.system.ports[name]}"
        try:
            return await self._read(base)
        except aiohttp.ClientError as error:
            self.system.check()  # says what the process said last, if it has ended
            raise HeadwaterError(f"headwater {name} does not answer at {base}/metrics: {error}") from error

    async def scrape_or_nothing(self, name: str) -> Scrape:
        """Read the metrics of a process that nobody waits for: none while it is starting.

        Raises
        ------
        HeadwaterError
            The process has ended.
        """
        try:
            return await self.scrape(name)
        except HeadwaterError:
            self.system.check()
            return Scrape.parse("")

    async def backlog(self, published: int) -> int:
        """Count the events that are not consumed yet and the examples that are not learnt yet."""
        # The trainer first: what it learns while the worker answers only makes the backlog look longer.
        trainer = await self.scrape("train")
        worker = await self.scrape("worker")
        self.parity_max_abs = max(self.parity_max_abs, trainer.total("headwater_parity_max_abs_logits"))
        done = sum(worker.total(f"headwater_{name}_total") for name in _ACCOUNTED)
        examples = worker.total("headwater_examples_written_total")
        return int(published - done + examples - trainer.total("headwater_examples_learned_total"))

    async def foundation(self) -> dict[str, float | None]:
        """Say what the foundation model has done; nothing yet where its process is still starting."""
        found = await self.scrape_or_nothing("foundation")
        judged = found.by("headwater_foundation_recall_ratio", "scorer")
        if not any(judged.values()):  # nothing has been judged yet
            judged = {}
        return {
            "versions": int(found.total("headwater_published_models_total", kind="foundation")),
            "users": int(found.total("headwater_foundation_users")),
            "items": int(found.total("headwater_foundation_items")),
            "recall@10": judged.get("model"),
            "popular_recall@10": judged.get("popular"),
            "refresh_seconds_p50": found.quantile("headwater_foundation_refresh_seconds", 0.5),
        }

    async def soft_labels(self) -> dict[str, float | None]:
        """Say what became of the teacher's labels, and what they are worth to the student."""
        teacher, trainer = await self.scrape_or_nothing("teach"), await self.scrape("train")
        joins = trainer.by("headwater_soft_label_joins_total", "result")
        examples = joins.get("joined", 0.0) + joins.get("missed", 0.0)
        quality = trainer.by("headwater_prequential_ratio", "model", metric="hr@10")
        with_labels, without = quality.get("served"), quality.get("hard_only")
        return {
            "written": int(teacher.total("headwater_soft_labels_written_total")),
            "coverage": round(joins.get("joined", 0.0) / examples, 4) if examples else None,
            "age_p95_s": trainer.quantile("headwater_soft_label_join_seconds", 0.95),
            "teacher_version": int(teacher.total("headwater_teacher_version_number")),
            "student_hr@10": with_labels,
            "hard_only_hr@10": without,
            "gain": round(with_labels / without - 1, 4) if with_labels and without else None,
        }

    async def watch(self) -> None:
        """Stop the run when a process ends."""
        while True:
            await asyncio.sleep(1)
            self.system.check()

    async def until_ready(self) -> None:
        """Wait until the server answers and the worker has its place in its group.

        What is published before the worker reads would seem to take that long to show.
        """
        await self._until(self._server_lacks, READY_SECONDS)
        await self._until(self._worker_lacks, READY_SECONDS)

    async def until_learned(self, events: int) -> None:
        """Wait until every event is consumed, and learnt or accounted for otherwise."""

        async def lacks() -> str:
            backlog = await self.backlog(events)
            return f"{backlog} of {events} events are not learnt" if backlog > 0 else ""

        await self._until(lacks, CAUGHT_UP_SECONDS)

    async def until_labelled(self) -> None:
        """Wait until every example has its soft label, and the student has learnt them or gone on without."""

        async def lacks() -> str:
            worker, teacher, trainer = [await self.scrape(name) for name in ("worker", "teach", "train")]
            examples = int(worker.total("headwater_examples_written_total"))
            written = int(teacher.total("headwater_soft_labels_written_total"))
            waiting = int(trainer.total("headwater_soft_label_waiting_examples"))
            if written < examples:
                return f"{examples - written} of {examples} examples have no soft label"
            return f"{waiting} examples wait for the student" if waiting else ""

        await self._until(lacks, CAUGHT_UP_SECONDS)

    async def _server_lacks(self) -> str:
        async with self.session.get("/health/ready") as response:
            return "" if response.status == 200 else f"the server is not ready: {await response.text()}"

    async def _worker_lacks(self) -> str:
        found = await self._read(f"http://127.0.0.1:{self.system.ports['worker']}")
        return "" if found.total("headwater_assigned_partitions") else "the worker has no partition of the events topic"

    async def _until(self, lacks: Callable[[], Awaitable[str]], within_seconds: float) -> None:
        """Ask again and again what is missing until nothing is; a process that does not answer yet is asked again."""
        deadline, missing = time.monotonic() + within_seconds, "a process does not answer"
        while missing:
            self.system.check()
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
                missing = await lacks()
            if missing and time.monotonic() > deadline:
                raise HeadwaterError(
                    f"after {within_seconds:.0f} s {missing}; the logs are in {self.system.state}/logs"
                )
            await asyncio.sleep(0.2 if missing else 0)

    async def _read(self, base: str) -> Scrape:
        async with self.session.get(f"{base}/metrics") as response:
            return Scrape.parse(await response.text())
