"""Which version served when, and from that how long each example waited until a version that knows it served."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import aiohttp
import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition
from numpy.typing import NDArray

from exporters.errors import ExporterError
from exporters.registry import Registry
from streamer import topics
from streamer.examples import decode

_POLL_SECONDS = 0.05
_READ_MS = 3_000
Examples = dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""For each partition of the examples topic: offsets in order, and when their events were published (milliseconds)."""


@dataclass(frozen=True)
class Served:
    """A version that serves: since when, and the last offset of each partition of the examples that it knows."""

    time_ms: float
    offsets: dict[int, int]


class VersionLog:
    """Looks again and again which version serves.

    Parameters
    ----------
    session
        Its base address is the server's.
    registry, name
        Where the versions lie.
    """

    def __init__(self, session: aiohttp.ClientSession, registry: Registry, name: str) -> None:
        self._session, self._registry, self._name = session, registry, name
        self.versions: list[Served] = []
        self._last = ""

    async def follow(self) -> None:
        """Look until cancelled."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ExporterError):
                await self.look()
            await asyncio.sleep(_POLL_SECONDS)

    async def look(self) -> None:
        """Note the version that serves now, if it is another one."""
        async with self._session.get("/health/ready") as response:
            response.raise_for_status()
            answer = await response.json(content_type=None)
        version = str(answer["model_version"]).rpartition(":")[2]
        if version != self._last:
            now_ms = time.time() * 1_000
            offsets = self._registry.manifest(self._name, version).offsets
            self.versions.append(Served(now_ms, {int(part): offset for part, offset in offsets.items()}))
            self._last = version


def waits_ms(versions: list[Served], examples: Examples, from_ms: float) -> NDArray[np.float64]:
    """Milliseconds from the publication of each example's event to the first version that knows it.

    Parameters
    ----------
    versions
        In the order in which they served.
    examples
        What lies on the examples topic.
    from_ms
        Events before that are left out, and so are those that no version knows yet.

    Examples
    --------
    >>> versions = [Served(1_000, {0: 1}), Served(3_000, {0: 2})]
    >>> waits_ms(versions, {0: (np.array([0, 1, 2, 3]), np.array([100, 900, 1_000, 2_900]))}, 500).tolist()
    [100.0, 2000.0]
    """
    found = [np.zeros(0)]
    for partition, (offsets, published_ms) in examples.items():
        known = np.maximum.accumulate([version.offsets.get(partition, -1) for version in versions] or [-1])
        first = np.searchsorted(known, offsets)  # of the versions, the first whose offset reaches the example's
        counted = (first < len(versions)) & (published_ms >= from_ms)
        served_ms = np.array([version.time_ms for version in versions])
        found.append(served_ms[first[counted]] - published_ms[counted])
    return np.concatenate(found)


def read_examples(bootstrap_servers: str) -> Examples:
    """Read the examples topic from its beginning: for each partition offsets, and when their events were published."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, consumer_timeout_ms=_READ_MS)
    found: dict[int, list[tuple[int, int]]] = {}
    try:
        partitions = consumer.partitions_for_topic(topics.EXAMPLES.name) or set()
        consumer.assign([TopicPartition(topics.EXAMPLES.name, partition) for partition in sorted(partitions)])
        consumer.seek_to_beginning()
        for record in consumer:
            with contextlib.suppress(msgspec.DecodeError):
                found.setdefault(record.partition, []).append((record.offset, decode(record.value).published_time_ms))
    finally:
        consumer.close()
    return {partition: _columns(pairs) for partition, pairs in found.items()}


def _columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns = np.array(sorted(pairs), np.int64)  # [E, 2]
    return columns[:, 0], columns[:, 1]
