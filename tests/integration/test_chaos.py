"""One server process while what it stands on dies and comes back: always an answer or a clear 503, never a hang.

The tests run in the order of the file on one system, and each leaves it whole; the last one ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from kafka import KafkaConsumer
from onnx import TensorProto, helper, numpy_helper

from exporters import deltas
from exporters.deltas import Row
from exporters.registry import Draft, GraphFile, Registry
from streamer import topics
from streamer.broker import answers, free_port, stop_process
from streamer.processes import Child
from streamer.publishing import Publisher
from streamer.settings import Kafka, Settings, Stores
from streamer.topics import create_topics
from tests.conftest import _two_free_ports, _wait_for_line, kafka_run_script

pytestmark = [pytest.mark.integration, pytest.mark.slow]
WAIT_SECONDS, HANG_SECONDS = 90.0, 8.0
ITEMS = [f"i{place}" for place in range(20)]


class Redis:
    """A redis-server that can be killed, stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Broker:
    """An Apache Kafka that can be killed and started again over the same data."""

    def __init__(self, script: Path, folder: Path) -> None:
        self._script, self._folder, self.port, self._starts = script, folder, _two_free_ports(), 0
        self.start()

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def start(self) -> None:
        self._starts += 1
        log, data = self._folder / f"kafka-{self._starts}.log", self._folder / "kafka"
        with log.open("wb") as file:
            command = [str(self._script), "--port", str(self.port), "--data", str(data)]
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _wait_for_line(self.process, log, f"ready localhost:{self.port}")

    def kill(self) -> None:
        os.kill(int((self._folder / "kafka" / "pid").read_text()), signal.SIGKILL)
        self.process.wait(30)


class System:
    """Redis, Kafka and one server, with a model, twenty items and settings in a file."""

    def __init__(self, stack: ExitStack, script: Path, folder: Path) -> None:
        self.folder = folder
        self.redis, self.broker = Redis(folder), Broker(script, folder)
        stack.callback(lambda: stop_process(self.redis.process))
        stack.callback(lambda: stop_process(self.broker.process, timeout_seconds=15))
        stores = Stores(state_dir=folder / "state", online_store="redis", redis_url=self.redis.url)
        self.settings = Settings(kafka=Kafka(bootstrap_servers=self.broker.address), stores=stores)
        create_topics(self.settings)
        _publish_model(self.settings)
        _publish_rows(self.settings)
        self.late: Child | None = None  # a second server, started while the broker is away
        self.config = folder / "headwater.toml"
        self.configure()
        self._stack = stack
        self.server = self.start_server("server")
        self.url = self.address(self.server)
        self.client = stack.enter_context(httpx.Client(base_url=self.url, timeout=HANG_SECONDS))
        self.until(lambda: self.ready().status_code == 200, "the server is ready")

    def configure(self, more: str = "") -> None:
        serving = "staleness_seconds = 3\nbroker_wait_seconds = 1\nlame_duck_seconds = 1\nport = 0\ndeadline_ms = 400\n"
        self.config.write_text(
            f'[kafka]\nbootstrap_servers = "{self.broker.address}"\n'
            f'[stores]\nstate_dir = "{self.settings.stores.state_dir}"\nonline_store = "redis"\n'
            f'redis_url = "{self.redis.url}"\n[learning]\ncatalog_rows = 64\ndimension = 8\nneighbours = 10\n'
            f"[serving]\n{serving}{more}"
        )

    def start_server(self, name: str) -> Child:
        child = Child(["serve"], {"HEADWATER_CONFIG": str(self.config)}, self.folder / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def address(self, server: Child) -> str:
        def printed() -> list[str]:
            server.check()
            return [line for line in server.log.read_text().splitlines() if line.startswith("serving at ")]

        self.until(lambda: bool(printed()), "the server listens")
        return printed()[0].removeprefix("serving at ")

    def until(self, look: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not look():
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.server.log.read_text()[-3_000:]}"
            time.sleep(0.1)

    def ready(self) -> httpx.Response:
        return self.client.get("/health/ready")

    def ask(self, **more: object) -> dict:
        """Ask for a list; whatever is gone, it comes, and comes before the hang."""
        response = self.client.post("/recommend", json={"user_id": "ada", "count": 5, **more})
        assert response.status_code == 200, response.text
        document = response.json()
        assert len(document["items"]) == 5 and (document["reason"] or not document["fallback"])
        return document

    def send(self) -> httpx.Response:
        event = {"event_id": uuid.uuid4().hex, "type": "interaction", "user_id": "ada", "item_id": "i1"}
        return self.client.post("/events", json={**event, "action": "click", "event_time_ms": _now_ms()})

    def impressions(self) -> set[str]:
        consumer = KafkaConsumer(
            topics.EVENTS.name, bootstrap_servers=self.broker.address, auto_offset_reset="earliest",
            consumer_timeout_ms=3_000,
        )  # fmt: skip
        try:
            found = (json.loads(record.value) for record in consumer)
            return {event["impression_id"] for event in found if event["type"] == "impression"}
        finally:
            consumer.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _publish_model(settings: Settings) -> None:
    """Publish a version whose logit is the sum of the sources' scores."""
    scores = helper.make_tensor_value_info("source_scores", TensorProto.FLOAT, ["B", "N", "S"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "N"])
    last = numpy_helper.from_array(np.array([2]), "last")
    node = helper.make_node("ReduceSum", ["source_scores", "last"], ["logits"], keepdims=0)
    graph = helper.make_graph([node], "small", [scores], [logits], [last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file = GraphFile(content=model.SerializeToString(), architecture="small", inputs=(), outputs=("logits",))
    Registry(settings.stores.models_dir).publish(Draft(name="student", graphs={"rank": file}, step=1))


def _publish_rows(settings: Settings) -> None:
    places = np.arange(2, 2 + len(ITEMS))
    popular = {"neighbours": places[:10].astype("<i4").tobytes(), "weights": np.ones(10, "<f4").tobytes()}
    rows = [Row(table="catalog", item_id=name, row=int(row), step=1) for name, row in zip(ITEMS, places, strict=True)]
    rows.append(Row(table="popularity", item_id="*", row=0, step=1, **popular))
    with Publisher(settings.kafka.bootstrap_servers) as publisher:
        for row in rows:
            publisher.send_raw(topics.WEIGHTS.name, row.key, deltas.encode(row))
        for name in ITEMS:
            event = {"event_id": name, "type": "item", "item_id": name, "title": name, "event_time_ms": _now_ms()}
            publisher.send_raw(topics.ITEMS.name, name.encode(), json.dumps(event).encode())
        publisher.flush()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    script = kafka_run_script()
    if script is None or shutil.which("redis-server") is None:
        pytest.skip("needs an Apache Kafka that can be killed (HEADWATER_TEST_KAFKA_RUN) and redis-server")
    with ExitStack() as stack:
        yield System(stack, script, tmp_path_factory.mktemp("chaos"))


def test_whole_it_serves_the_models_lists(system: System) -> None:
    assert not system.ask()["fallback"]
    assert system.send().status_code == 202
    lag = system.ready().json()["health"]["lag"]
    assert {"headwater.items", "headwater.models", "headwater.weights"} <= lag.keys()


def test_a_deadline_that_nobody_can_keep_gives_what_is_in_memory(system: System) -> None:
    documents = [system.ask(deadline_ms=deadline_ms) for deadline_ms in [0.001] * 10 + [1.0] * 10]
    assert documents[0]["fallback"] and documents[0]["reason"] == "deadline"
    assert {document["reason"] for document in documents} <= {"deadline", "unknown_user", None}
    assert not system.ask()["fallback"]


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_the_store_goes_and_comes_back(system: System, how: str) -> None:
    system.redis.kill() if how == "killed" else system.redis.process.send_signal(signal.SIGSTOP)
    system.until(lambda: system.ask()["reason"] == "store_unavailable", "lists say that the store is gone")
    assert system.ask()["fallback"]
    refused = system.client.get("/users/ada/session")
    assert (refused.status_code, refused.json()["reason"]) == (503, "store_unavailable")
    assert "online store" in system.ready().json()["detail"]
    assert system.client.get("/health/live").status_code == 200
    assert system.send().status_code == 202, "events need no store"
    system.redis.start() if how == "killed" else system.redis.process.send_signal(signal.SIGCONT)
    system.until(lambda: system.ready().status_code == 200, "the store is found again")
    assert not system.ask()["fallback"]


def test_the_broker_goes_and_comes_back_and_a_server_may_start_meanwhile(system: System) -> None:
    system.broker.kill()
    made = {system.ask()["impression_id"] for _ in range(5)}
    assert not system.ask()["fallback"], "lists need no broker"
    for _ in range(4):
        refused = system.send()
        assert (refused.status_code, refused.json()["reason"]) == (503, "broker_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    system.until(lambda: "silent" in system.ready().text, "readiness says that the broker is silent")

    late = system.late = system.start_server("late")
    with httpx.Client(base_url=system.address(late), timeout=HANG_SECONDS) as client:
        assert client.get("/health/live").status_code == 200
        system.until(lambda: "No broker answers" in client.get("/health/ready").text, "the late server says why")
        assert client.post("/recommend", json={"user_id": "ada"}).status_code in (200, 503)
        assert client.post("/events", json={}).status_code in (422, 503)

        system.broker.start()
        assert answers(system.broker.address, 30)
        system.until(lambda: system.ready().status_code == 200, "the broker is found again")
        system.until(lambda: client.get("/health/ready").status_code == 200, "the late server is ready")
        assert not client.post("/recommend", json={"user_id": "ada", "count": 5}).json()["fallback"]
    system.until(lambda: system.send().status_code == 202, "events are taken again")
    system.until(lambda: made <= system.impressions(), "impressions of the outage have arrived")


def test_a_signal_and_a_request_reload_the_settings(system: System) -> None:
    system.configure("max_results = 7\n")
    system.server.signal(signal.SIGHUP)
    too_many = {"user_id": "ada", "count": 8}
    system.until(lambda: system.client.post("/recommend", json=too_many).status_code == 422, "the limit is in force")
    system.configure("max_results = [")
    refused = system.client.post("/admin/reload")
    assert (refused.status_code, refused.json()["reason"]) == (422, "bad_settings")
    assert system.client.post("/recommend", json=too_many).status_code == 422
    system.configure()
    assert system.client.post("/admin/reload").json()["changed"] == {"serving.max_results": [7, 100]}


def test_a_server_that_is_told_to_end_loses_no_request_and_no_impression(system: System) -> None:
    """Every client goes on until it is told 503, and none of them sees a broken connection."""
    answered: list[str] = []
    told: list[httpx.Response] = []

    async def load(client: httpx.AsyncClient) -> None:
        while True:
            response = await client.post("/recommend", json={"user_id": uuid.uuid4().hex, "count": 3})
            if response.status_code != 200:
                told.append(response)
                return
            answered.append(response.json()["impression_id"])

    async def end() -> None:
        await asyncio.sleep(0.5)
        system.server.signal(signal.SIGTERM)
        async with httpx.AsyncClient(base_url=system.url, timeout=HANG_SECONDS) as probe:
            while (await probe.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.01)
            before = len(answered)
            await asyncio.sleep(0.3)
            assert len(answered) > before, "not ready, and still answering"

    async def whole() -> None:
        async with httpx.AsyncClient(base_url=system.url, timeout=HANG_SECONDS) as client:
            await asyncio.gather(end(), *(load(client) for _ in range(6)))

    asyncio.run(whole())
    assert {response.json()["reason"] for response in told} == {"shutting_down"}
    assert all(int(response.headers["retry-after"]) >= 1 for response in told)
    assert system.server.wait(20) == 0
    assert answered and set(answered) <= system.impressions()


def test_a_server_ends_well_although_its_broker_is_gone(system: System) -> None:
    assert system.late is not None
    system.broker.kill()
    time.sleep(0.5)
    system.late.signal(signal.SIGTERM)
    assert system.late.wait(30) == 0, system.late.log.read_text()[-3_000:]
