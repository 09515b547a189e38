"""A real trainer, a real broker and a real server, and what must never reach a user."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from exporters import announcements, deltas
from exporters.announcements import Announcement
from exporters.deltas import VECTORS
from exporters.item_tables import ItemTables
from exporters.registry import Registry
from feature_store.vectors import NAMES
from streamer import examples, rollbacks, topics
from streamer.announcing import announce
from streamer.examples import Example, History, Position
from streamer.serve import composed
from streamer.server_state import ServerState
from streamer.settings import Learning, Settings
from streamer.trainer import Trainer

pytestmark = [pytest.mark.integration, pytest.mark.slow]
WAIT_SECONDS = 60


@pytest.fixture
def small(fresh_topics: Settings) -> Settings:
    """Settings of small tables on empty topics; the trainer publishes when the test says so."""
    rhythms = {"publish_rows_seconds": 0.05, "publish_dense_seconds": 600.0, "parity_seconds": 600.0}
    sizes = Learning(catalog_rows=64, dimension=8, neighbours=10, candidates=12, **rhythms)
    return fresh_topics.model_copy(update={"learning": sizes})


@dataclass
class World:
    """One trainer and one server on one broker."""

    settings: Settings
    trainer: Trainer
    app: FastAPI
    client: httpx.AsyncClient
    state: ServerState
    offset: int = 0

    @property
    def tables(self) -> ItemTables:
        return self.state.tables

    async def learn(self, number: int) -> None:
        made = [_example(self.offset + place) for place in range(number)]
        self.offset += number
        messages = [
            SimpleNamespace(partition=0, offset=one.source.offset, timestamp=1.0, key=b"u", value=examples.encode(one))
            for one in made
        ]
        events = [SimpleNamespace(message=message, ack=lambda: None) for message in messages]
        await self.trainer.handle(events, _never, lambda partition: None)

    async def publish(self) -> str:
        """Publish a version; returns the newest of the registry."""
        await self.trainer.publish_dense()
        return self.registry.versions("student")[-1]

    @property
    def registry(self) -> Registry:
        return Registry(self.settings.stores.models_dir)

    async def serving(self) -> str:
        return (await self.client.get("/models")).json()["students"]["student"]["serving"]

    async def until(self, look: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not look():
            assert time.monotonic() < deadline, f"{WAIT_SECONDS} s have not been enough until {what}"
            await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """Wait until the server holds what the trainer has published."""
        await self.trainer.publish_rows()
        shown = self.trainer.student.outgoing.shown
        await self.until(
            lambda: all(np.array_equal(self.tables.digest(one), shown.digest(one)) for one in self.tables.table_names),
            "the tables are the trainer's",
        )


async def _never(partition: int, offset: int) -> None:
    raise AssertionError("nothing is read again")


def _example(offset: int) -> Example:
    number, now_ms = (7 * offset) % 23, time.time_ns() // 1_000_000
    past = [f"i{(number + back) % 23}" for back in range(3, 0, -1)]
    return Example(
        example_id=f"x{offset}", kind="interaction", source=Position(0, offset, 0), user_id=f"u{offset % 5}",
        item_id=f"i{number}", action="view", event_time_ms=now_ms, published_time_ms=now_ms,
        history=History(past, ["view"] * 3, [now_ms - 60_000 * back for back in range(3, 0, -1)]), session_length=3,
        features=[1.0] + [0.0] * (len(NAMES) - 1),
    )  # fmt: skip


@asynccontextmanager
async def _world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made: list[ServerState] = []
    start = ServerState.__init__
    monkeypatch.setattr(ServerState, "__init__", lambda self, given: (start(self, given), made.append(self))[0])
    trainer = Trainer(settings)
    await trainer.start()
    try:
        async with composed(settings) as app:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
                world = World(settings, trainer, app, client, made[-1])
                yield world
    finally:
        await trainer.stop()


async def _ready(client: httpx.AsyncClient) -> httpx.Response:
    deadline = time.monotonic() + WAIT_SECONDS
    while (response := await client.get("/health/ready")).status_code != 200 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return response


async def test_what_goes_wrong_while_everything_runs(small, read_topic, monkeypatch, capsys) -> None:
    async with _world(small, monkeypatch) as world:
        await world.learn(64)
        first = await world.publish()
        assert (await _ready(world.client)).status_code == 200
        await world.settled()
        await world.until(lambda: world.state.host.version == first, "the first version serves")

        await _diverges(world, read_topic)
        await _is_corrupted(world, monkeypatch)
        await world.learn(32)
        second = await world.publish()
        await world.until(lambda: world.state.host.version == second, "the second version serves")
        await _old_news(world, first, second)
        await _rolls_back(world, first, capsys)
        await _holds(world, read_topic)


async def _diverges(world: World, read_topic: Any) -> None:
    """NaN weights are refused, the reason is announced, and the server keeps version and vectors."""
    trainer, serving = world.trainer, world.state.host.version
    weight = next(
        weight for name, weight in trainer.student.network.ranker.named_parameters() if not name.startswith("items")
    )
    kept, vectors = weight.detach().clone(), world.tables.vectors.copy()
    with torch.no_grad():
        weight.flatten()[0] = float("nan")
        trainer.student.network.ranker.items.weight[2:].add_(0.5)
    trainer.student.learned += 1
    await world.publish()
    refused = [announcements.decode(record.value) for record in read_topic(topics.MODELS.name)][-1]
    assert refused.kind == "refused" and "weights_not_finite" in refused.reason
    trainer.student.pending.add(VECTORS, trainer.student.memory.catalog.active_rows().tolist(), 0)
    await trainer.publish_rows()
    trainer._rows.asked(Announcement(name="student", kind="repair"))
    await trainer.publish_rows()
    await asyncio.sleep(0.5)
    assert world.state.host.version == serving and world.tables.vectors.tobytes() == vectors.tobytes()
    answer = await world.client.post("/recommend", json={"user_id": "u1", "count": 5})
    assert answer.status_code == 200 and answer.json()["model_version"] == serving and answer.json()["items"]
    with torch.no_grad():
        weight.copy_(kept)
    trainer.student.learned += 1
    healed = await world.publish()
    await world.until(lambda: world.state.host.version == healed, "the mended version serves")
    await world.settled()
    assert world.tables.vectors.tobytes() != vectors.tobytes(), "the vectors came with the version that passed"


async def _is_corrupted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is damaged on its way is refused, and the next parity has it published again."""
    encode = deltas.encode

    def damaged(row: deltas.Row) -> bytes:
        value = encode(row)
        return value[:-1] + bytes([value[-1] ^ 255]) if row.table == "item_knn" else value

    await world.learn(8)
    monkeypatch.setattr(deltas, "encode", damaged)
    await world.trainer.publish_rows()
    monkeypatch.setattr(deltas, "encode", encode)
    shown = world.trainer.student.outgoing.shown
    assert not np.array_equal(world.tables.digest("item_knn"), shown.digest("item_knn"))
    world.trainer._rows.asked(Announcement(name="student", kind="repair"))  # as every parity_seconds
    await world.trainer.publish_rows()
    await world.settled()
    assert world.state.first.parity.differing == {} or await _until_agreed(world)


async def _until_agreed(world: World) -> bool:
    await world.until(lambda: not world.state.first.parity.differing, "the tables agree again")
    return True


async def _old_news(world: World, old: str, new: str) -> None:
    """An announcement says nothing by its time: an old version told by a clock that runs ahead changes nothing."""
    settings = world.settings
    late = Announcement(name="student", kind="published", version=old, time_ms=time.time_ns() // 1_000_000 + 10**9)
    await asyncio.to_thread(announce, late, settings.kafka.bootstrap_servers)
    await asyncio.sleep(0.5)
    assert world.state.host.version == new
    await world.learn(8)
    monkey_clock = Announcement(name="student", kind="published", version=new, time_ms=1)
    await asyncio.to_thread(announce, monkey_clock, settings.kafka.bootstrap_servers)
    newest = await world.publish()
    await world.until(lambda: world.state.host.version == newest, "the newest version serves")


async def _rolls_back(world: World, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A rollback brings a version with its tables; what is learnt goes on behind it and comes back at the release."""
    stored = world.registry.tables("student", first)
    started = time.perf_counter()
    await asyncio.to_thread(rollbacks.roll_back, world.settings, "student", first, "a test")
    await world.until(lambda: world.state.host.version == first and world.tables.pinned, "the first version is back")
    with capsys.disabled():
        print(f"\n[rollback: {time.perf_counter() - started:.2f} s from the call until it serves]")
    used = len(stored.item_ids)
    assert world.tables.vectors[2:used].tobytes() == stored.arrays[VECTORS][2:].tobytes()
    assert world.tables.neighbours["item_knn"].items[:used].tobytes() == stored.arrays["item_knn.items"].tobytes()
    shown = world.tables.vectors.tobytes()
    await world.learn(16)
    newest = await world.publish()
    await world.settled()  # behind the pin
    assert await world.serving() == first and world.tables.vectors.tobytes() == shown
    listed = (await world.client.get("/models")).json()["students"]["student"]
    assert listed["pinned"] and listed["canary"] is None
    await asyncio.to_thread(rollbacks.release, world.settings, "student")
    await world.until(lambda: not world.tables.pinned, "the stream's tables are shown again")
    assert world.state.host.version == newest and world.tables.vectors.tobytes() != shown
    await world.settled()


async def _holds(world: World, read_topic: Any) -> None:
    """On hold nothing goes out, whoever asks, until it is released; what was learnt meanwhile then goes out at once."""
    await asyncio.to_thread(rollbacks.hold, world.settings, "student", "drift")
    before, versions = len(read_topic(topics.WEIGHTS.name)), world.registry.versions("student")
    await world.learn(16)
    await world.publish()
    await world.trainer.publish_rows()
    assert len(read_topic(topics.WEIGHTS.name)) == before and world.registry.versions("student") == versions
    assert Registry(world.settings.stores.models_dir).held("student").reason == "drift"
    await asyncio.to_thread(rollbacks.release, world.settings, "student")
    newest = await world.publish()
    assert newest not in versions
    await world.until(lambda: world.state.host.version == newest, "what was learnt under the hold serves")
    await world.settled()


async def test_what_has_gone_wrong_before_a_server_starts(small, monkeypatch) -> None:
    async with _world(small, monkeypatch) as world:
        await world.learn(64)
        await world.publish()
        await world.learn(16)
        damaged = await world.publish()
        assert (await _ready(world.client)).status_code == 200
        await world.settled()
        whole = world.registry.versions("student")[-2]
        path = world.registry.folder("student", damaged) / "rank.onnx"
        path.write_bytes(path.read_bytes()[:-1] + b"!")

        async with (
            composed(small) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://late") as client,
        ):
            ready = await _ready(client)
            assert ready.status_code == 200 and ready.json()["model_version"] == whole, "never the damaged one"

        _truncate(small, keep=2)
        (world.registry.folder("student", whole) / "tables.safetensors").write_bytes(b"")
        for version in world.registry.versions("student"):
            (world.registry.folder("student", version) / "tables.safetensors").unlink()
        newest = ServerState(small)
        newest.load()
        newest.begins_at(100, 102)
        assert "begins at offset 100" in newest.doubts()[0]
        async with (
            composed(small, cold=True) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://late") as client,
        ):
            refused = await client.get("/health/ready")
            assert refused.status_code == 503
            task = asyncio.create_task(_keep_publishing(world))
            ready = await _ready(client)
            task.cancel()
            assert ready.status_code == 200, ready.text


async def _keep_publishing(world: World) -> None:
    while True:
        await world.trainer.publish_rows()
        await asyncio.sleep(0.1)


def _truncate(settings: Settings, keep: int) -> None:
    """Delete the oldest records of the weights topic, as a wrong clean-up policy would."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        name = topics.WEIGHTS.name
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": "delete"})])
        partition = TopicPartition(name, 0)
        admin.delete_records({partition: _end(settings, partition) - keep})
    finally:
        admin.close()


def _end(settings: Settings, partition: TopicPartition) -> int:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        return int(consumer.end_offsets([partition])[partition])
    finally:
        consumer.close()
