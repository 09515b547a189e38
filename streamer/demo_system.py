"""The demo's processes: started with the settings of a laptop, watched, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
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
TRAINER_NICENESS = 10  # it works all the time; the others must answer at once
ROWS_SECONDS = 1.0  # the embedded broker keeps every row for ever: half as many
FETCH_MAX_WAIT_MS = 20  # the embedded broker holds an empty fetch to its end, whatever comes meanwhile
_ACCOUNTED = ("events_consumed", "dead_letters", "duplicate_events")


class System:
    """Worker, trainer and server of a demo as child processes, and their addresses.

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
    """

    def __init__(self, broker: str, state: Path, port: int, settings: Settings) -> None:
        self.broker, self.state, self.settings = broker, state, settings
        self.server = f"http://127.0.0.1:{port or free_port()}"
        self.ports = {"worker": free_port(), "train": free_port()}
        self.children: list[Child] = []

    def start(self) -> None:
        """Create the topics and start the processes."""
        os.environ["HEADWATER_KAFKA__BOOTSTRAP_SERVERS"] = self.broker
        kafka = self.settings.kafka.model_copy(update={"bootstrap_servers": self.broker})
        topics.create_topics(self.settings.model_copy(update={"kafka": kafka}))
        for name, arguments in (
            ("worker", ["worker"]),
            ("train", ["train"]),
            ("serve", ["serve", "--port", self.server.rsplit(":", 1)[1]]),
        ):
            environment = {
                "HEADWATER_KAFKA__BOOTSTRAP_SERVERS": self.broker,
                "HEADWATER_STORES__STATE_DIR": str(self.state),
                "HEADWATER_METRICS_PORT": str(self.ports.get(name, 0)),
                "HEADWATER_LEARNING__PUBLISH_ROWS_SECONDS": str(ROWS_SECONDS),
                "HEADWATER_KAFKA__FETCH_MAX_WAIT_MS": str(FETCH_MAX_WAIT_MS),
                "HEADWATER_KAFKA__PARTITIONS": str(self.settings.kafka.partitions),
            }
            niceness = TRAINER_NICENESS if name == "train" else 0
            self.children.append(Child(arguments, environment, self.state / "logs" / f"{name}.log", niceness))

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
        """Read the metrics of "worker", "train" or "serve".

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

    async def backlog(self, published: int) -> int:
        """Count the events that are not consumed yet and the examples that are not learnt yet."""
        # The trainer first: what it learns while the worker answers only makes the backlog look longer.
        trainer = await self.scrape("train")
        worker = await self.scrape("worker")
        self.parity_max_abs = max(self.parity_max_abs, trainer.total("headwater_parity_max_abs_logits"))
        done = sum(worker.total(f"headwater_{name}_total") for name in _ACCOUNTED)
        examples = worker.total("headwater_examples_written_total")
        return int(published - done + examples - trainer.total("headwater_examples_learned_total"))

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
