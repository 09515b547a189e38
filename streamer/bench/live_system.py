"""Worker, trainer and server as real processes, with a source whose events can be played to them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaProducer

from streamer.bench.event_load import EventLoad, endless
from streamer.broker import embedded_broker
from streamer.demo import EMBEDDED_PARTITIONS
from streamer.demo_system import Probe, System
from streamer.events import Event, encode
from streamer.processes import Child
from streamer.publishing import route
from streamer.settings import Settings
from streamer.sources import Source

# Nobody writes soft labels here, so nobody should wait for them.
_WITHOUT_TEACHER = {"HEADWATER_LEARNING__DISTILLATION": "off"}


@dataclass(frozen=True, kw_only=True)
class Live:
    """A running system and what a measurement needs of it."""

    system: System
    probe: Probe
    session: aiohttp.ClientSession  # its base address is the server's
    producer: AIOKafkaProducer
    load: EventLoad

    def child(self, name: str) -> Child:
        """Process by the name of its command."""
        return next(child for child in self.system.children if child.name == name)


@contextlib.contextmanager
def broker_and_state(broker: str | None) -> Iterator[tuple[str, Path, Settings]]:
    """Give a broker's address (an embedded one where none is given), an empty folder, and settings for both."""
    settings = Settings().model_copy(deep=True)
    with contextlib.ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-bench-")))
        if broker is None:
            broker = stack.enter_context(embedded_broker()).bootstrap_servers
            settings.kafka.partitions = EMBEDDED_PARTITIONS
        settings.kafka.bootstrap_servers, settings.stores.state_dir = broker, state
        yield broker, state, settings


@contextlib.asynccontextmanager
async def live_system(settings: Settings, source: Source, seed: int = 7) -> AsyncIterator[Live]:
    """Start everything, publish the catalogue, and wait until the server is ready and the worker reads.

    Raises
    ------
    HeadwaterError
        A process has ended, or is not ready in time.
    """
    kafka, stores = settings.kafka, settings.stores
    names = ("worker", "train")
    system = System(kafka.bootstrap_servers, stores.state_dir, 0, settings, names=names, environment=_WITHOUT_TEACHER)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all", linger_ms=1)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(system.stop)
        system.start()
        await producer.start()
        stack.push_async_callback(producer.stop)
        timeout = aiohttp.ClientTimeout(total=60)
        session = await stack.enter_async_context(aiohttp.ClientSession(system.server, timeout=timeout))
        probe = Probe(system, session)
        for item in source.items():
            await send(producer, item)
        await probe.until_ready()
        yield Live(
            system=system, probe=probe, session=session, producer=producer,
            load=EventLoad(producer, endless(source), seed),
        )  # fmt: skip


async def send(producer: AIOKafkaProducer, event: Event) -> None:
    """Queue an event on its topic."""
    topic, key = route(event)
    await producer.send(topic.name, encode(event), key=key)
