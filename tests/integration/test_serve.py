"""The serving process on a real broker and Feast on SQLite: what it reads from the topics, and what it writes there."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import httpx
import numpy as np
import pytest
from kafka import KafkaConsumer

from exporters import announcements, deltas
from exporters.deltas import Row
from exporters.publish import DensePublisher
from exporters.registry import Registry
from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from streamer import events, topics
from streamer.publishing import Publisher
from streamer.serve import composed, list_models
from streamer.server_sessions import session_of
from streamer.server_state import ServerState

pytestmark = pytest.mark.integration
WAIT_SECONDS = 30


@pytest.fixture
def small(fresh_topics):
    """Settings with small tables on empty topics: an earlier test may have cut rows off."""
    learning = fresh_topics.learning.model_copy(update={"catalog_rows": 64, "dimension": 8, "neighbours": 4})
    return fresh_topics.model_copy(update={"learning": learning})


def _mark() -> str:
    return uuid.uuid4().hex[:8]


def _item(item_id: str, title: str) -> bytes:
    fields = {"event_id": _mark(), "type": "item", "item_id": item_id, "title": title, "event_time_ms": _now_ms()}
    return json.dumps(fields).encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _popular(item_rows: list[int], step: int) -> Row:
    weights = np.linspace(1, 0.5, len(item_rows)).astype("<f4").tobytes()
    neighbours = np.array(item_rows, "<i4").tobytes()
    return Row(table="popularity", item_id="*", row=0, step=step, neighbours=neighbours, weights=weights)


def _send_rows(publisher: Publisher, rows: list[Row]) -> None:
    for row in rows:
        publisher.send_raw(topics.WEIGHTS.name, row.key, deltas.encode(row))
    publisher.flush()


async def _until(client, look, path="/health/ready", **request):
    """Ask until the answer looks right; the last answer where it never does."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        response = await client.request(request.get("method", "GET"), path, json=request.get("json"))
        if look(response) or time.monotonic() > until:
            return response
        await asyncio.sleep(0.05)


def _client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


def _ids(response) -> list[str]:
    return [item["item_id"] for item in response.json()["items"]]


async def test_rows_items_events_and_sessions_meet_in_the_server(small):
    mark = _mark()
    a, b = f"a-{mark}", f"b-{mark}"
    step = _now_ms()  # newer than whatever an earlier test left on the compacted topic
    with Publisher(small.kafka.bootstrap_servers) as publisher:
        publisher.send_raw(topics.ITEMS.name, a.encode(), _item(a, f"Alien {mark}"))
        publisher.send_raw(topics.ITEMS.name, b"broken", b"{")
        rows = [Row(table="catalog", item_id=name, row=row, step=step) for name, row in ((a, 10), (b, 11))]
        _send_rows(publisher, [*rows, _popular([10], step)])
        publisher.send_raw(topics.WEIGHTS.name, b"broken", b"\xc1")
        publisher.flush()
        async with composed(small, cold=True) as app, _client(app) as client:
            assert (await _until(client, lambda response: response.status_code == 200)).status_code == 200
            ask = {"user_id": f"u-{mark}", "log": True, "count": 5}
            first = await client.post("/recommend", json=ask)
            assert _ids(first)[0] == a and first.json()["items"][0]["title"] == f"Alien {mark}"

            _send_rows(publisher, [_popular([11, 10], step + 1)])
            changed = await _until(
                client, lambda response: _ids(response)[0] == b, "/recommend", method="POST", json={**ask, "log": False}
            )
            assert _ids(changed)[:2] == [b, a]

            event_id = f"e-{mark}"
            event = {
                "event_id": event_id,
                "type": "interaction",
                "user_id": f"u-{mark}",
                "item_id": a,
                "action": "view",
            }
            accepted = await client.post("/events", json=[{**event, "event_time_ms": _now_ms()}, {"event_id": "x"}])
            assert (accepted.status_code, accepted.json()["accepted"], accepted.json()["rejected"]) == (202, 1, 1)

            store = OnlineStore.open(small.stores.feast_dir, small.stores.online_store, small.stores.redis_url)
            state = UserState(
                user_id=f"u-{mark}", item_ids=[a], actions=["view"], event_times_ms=[_now_ms()], seen_item_ids=[a],
                last_event_id=event_id, last_published_ms=_now_ms(),
            )  # fmt: skip
            store.push([state])
            store.close()
            seen = await client.get(f"/users/u-{mark}/session?wait_for_event_id={event_id}&timeout_ms=10000")
            assert seen.json()["visible"] and seen.json()["history"][0]["item_id"] == a
            assert a not in _ids(await client.post("/recommend", json=ask))
            impressions = [first.json()["impression_id"]]
    published = _read_events(small.kafka.bootstrap_servers, mark)
    assert event_id in published and f"impression-{impressions[0]}" in published
    assert published[f"impression-{impressions[0]}"].items[0] == a


def _read_events(bootstrap_servers: str, mark: str) -> dict[str, events.Event]:
    consumer = KafkaConsumer(
        topics.EVENTS.name, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", consumer_timeout_ms=5_000
    )
    try:
        found = [events.decode(record.value) for record in consumer if mark.encode() in record.value]
    finally:
        consumer.close()
    return {event.event_id: event for event in found}


async def test_without_a_model_a_server_that_is_not_cold_is_not_ready(small):
    async with composed(small) as app, _client(app) as client:
        response = await _until(client, lambda response: "records" not in response.text)
        assert response.status_code == 503 and "--cold" in response.json()["detail"]


async def test_models_are_followed_and_rolled_back(small, tiny_graphs):
    registry = Registry(small.stores.models_dir)
    publisher = DensePublisher(registry=registry)
    first = publisher.publish(tiny_graphs, {}, [], {}, {"hr@10": 0.1}, {}, 1).version
    async with composed(small) as app, _client(app) as client:
        ready = await _until(client, lambda response: response.status_code == 200)
        assert ready.json()["model_version"] == first
        with Publisher(small.kafka.bootstrap_servers) as kafka:

            def tell(announcement) -> None:
                kafka.send_raw(topics.MODELS.name, announcement.key, announcements.encode(announcement))
                kafka.flush()

            publisher.announce = tell
            second = publisher.publish(tiny_graphs, {}, [], {}, {"hr@10": 0.2}, {}, 2).version
        swapped = await _until(client, lambda response: response.json()["model_version"] == second, "/stats")
        assert swapped.json()["model_version"] == second and swapped.json()["quality"]["hr@10"] == 0.2
        listed = (await client.get("/models")).json()
        assert [version["version"] for version in listed["versions"]] == [second, first]
        back = await client.post("/models/rollback", json={})
        assert back.json() == {"name": "student", "rolled_back_to": first}
        served = await _until(client, lambda response: response.json()["model_version"] == first, "/stats")
        assert served.json()["model_version"] == first
        nowhere = await client.post("/models/rollback", json={"version": "000009-00000000"})
        assert nowhere.status_code == 409


@pytest.fixture
def tiny_graphs():
    """One graph of one parameter: what a version needs to be published."""
    torch = pytest.importorskip("torch")
    from online_models.learner import Graph

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, source_scores):
            return source_scores.sum(-1) * self.scale

    inputs = {"source_scores": torch.ones(2, 3, 4)}
    dynamic = {"source_scores": {0: "B", 1: "N"}}
    return {"rank": Graph(module=Tiny(), inputs=inputs, outputs=("logits",), dynamic=dynamic)}


def test_a_state_without_registry_lists_nothing(tmp_path, settings):
    assert list_models(ServerState(settings)) == []
    assert session_of(UserState(user_id="u"), 5).last_event_id is None
