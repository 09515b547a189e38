"""The real parts that tests run against: a broker, a Redis, settings of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from streamer.broker import answers, embedded_broker, free_port, stop_process
from streamer.errors import BrokerError
from streamer.settings import Kafka, Settings, Stores

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """``host:port`` of a running broker.

    HEADWATER_TEST_BROKER, else Docker where HEADWATER_TEST_DOCKER=1, else Apache Kafka by its start script
    (HEADWATER_TEST_KAFKA_RUN), else the embedded broker.
    """
    with ExitStack() as stack:
        address, kind = _start_broker(stack, tmp_path_factory)
        with _shown(request):
            print(f"\n[tests run against {kind} at {address}]")
        yield address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running Redis: HEADWATER_TEST_REDIS, else a ``redis-server`` process, else skip."""
    if given := os.environ.get("HEADWATER_TEST_REDIS"):
        yield given
        return
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no Redis: set HEADWATER_TEST_REDIS, or install redis-server")
    with _redis_process(binary, tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, broker: str) -> Settings:
    """Settings with this session's broker and a state folder of this test alone.

    The topics' names are fixed, so tests that count what lies on a topic must tell their own messages apart.
    """
    return Settings(kafka=Kafka(bootstrap_servers=broker), stores=Stores(state_dir=tmp_path / "state"))


@pytest.fixture
def start_prometheus(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], str]]:
    """Start a Prometheus with our alert rules that scrapes ``host:port`` by job every second; returns its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus here: the Debian package of that name has it")
    with ExitStack() as stack:
        yield lambda targets: stack.enter_context(_prometheus_process(binary, tmp_path, targets))


@contextmanager
def _prometheus_process(binary: str, folder: Path, targets: dict[str, str]) -> Iterator[str]:
    scraped = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(REPOSITORY / "deploy" / "alerts.yml")],
        "scrape_configs": scraped,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _is_ready(f"http://{address}/-/ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"prometheus did not start: {(folder / 'prometheus.log').read_text()[-2_000:]}")
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        stop_process(process)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def kafka_folder_broker(script: Path, data_dir: Path) -> Iterator[str]:
    """Apache Kafka as a child process, by a script that takes ``--port`` and ``--data`` and prints ``ready``."""
    port = _two_free_ports()
    log = data_dir / "broker.log"
    with log.open("wb") as file:
        command = [str(script), "--port", str(port), "--data", str(data_dir / "kafka")]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait_for_line(process, log, f"ready localhost:{port}")
        yield f"localhost:{port}"
    finally:
        stop_process(process, timeout_seconds=15)


def _two_free_ports() -> int:
    """Pick a free port whose successor is free too: the controller listens there."""
    for _ in range(50):
        port = free_port()
        with socket.socket() as probe:
            if port < 65_535 and probe.connect_ex(("127.0.0.1", port + 1)) != 0:
                return port
    raise BrokerError("no two free ports in a row were found on 127.0.0.1")


def _wait_for_line(process: subprocess.Popen[bytes], log: Path, line: str, timeout_seconds: float = 90) -> None:
    deadline = time.monotonic() + timeout_seconds
    while line not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BrokerError(f"the Apache Kafka of the tests did not start: {log.read_text()[-2_000:]}")
        time.sleep(0.1)


def kafka_run_script() -> Path | None:
    """Find the start script of an Apache Kafka without Docker, where this machine has one that can run."""
    given = os.environ.get("HEADWATER_TEST_KAFKA_RUN")
    script = Path(given) if given else REPOSITORY.parent / "shared" / "kafka" / "run-local"
    return script if script.is_file() and shutil.which("java") else None


def docker_answers() -> bool:
    """Whether a Docker engine answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False).returncode == 0


def _start_broker(stack: ExitStack, tmp: pytest.TempPathFactory) -> tuple[str, str]:
    if given := os.environ.get("HEADWATER_TEST_BROKER"):
        if not answers(given, 10):
            raise BrokerError(f"HEADWATER_TEST_BROKER={given!r} does not answer; start it or unset the variable")
        return given, "the broker of HEADWATER_TEST_BROKER"
    if os.environ.get("HEADWATER_TEST_DOCKER") == "1" and docker_answers():
        return stack.enter_context(docker_kafka()), "Apache Kafka in Docker"
    if script := kafka_run_script():
        return stack.enter_context(kafka_folder_broker(script, tmp.mktemp("kafka"))), "Apache Kafka, a local process"
    try:
        return stack.enter_context(embedded_broker()).bootstrap_servers, "the embedded broker"
    except BrokerError as error:
        pytest.skip(str(error))


@contextmanager
def docker_kafka() -> Iterator[str]:
    """Apache Kafka in a container, by testcontainers."""
    from testcontainers.kafka import KafkaContainer

    with KafkaContainer(
        os.environ.get("HEADWATER_TEST_KAFKA_IMAGE", "confluentinc/cp-kafka:8.1.0")
    ).with_kraft() as kafka:
        yield kafka.get_bootstrap_server()


@contextmanager
def _redis_process(binary: str, folder: Path) -> Iterator[str]:
    import redis

    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 50)
        client = redis.Redis(port=port, retry=retry, retry_on_error=[redis.ConnectionError])
        client.ping()
        client.close()
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop_process(process)


@contextmanager
def _shown(request: pytest.FixtureRequest) -> Iterator[None]:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield
