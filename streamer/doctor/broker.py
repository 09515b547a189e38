"""The broker and its topics."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from streamer import topics
from streamer.broker import answers
from streamer.doctor.finding import Finding, fine, wrong
from streamer.errors import BrokerError
from streamer.settings import Settings
from streamer.topics import TopicState

_SECONDS = 5.0


def reachable(settings: Settings) -> bool:
    """Whether a broker answers; a port that refuses is known at once, where a client would try again for seconds."""
    servers = settings.kafka.bootstrap_servers
    return any(_listens(server.strip()) for server in servers.split(",")) and answers(servers, _SECONDS)


def _listens(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]") or server, int(port)), _SECONDS):
            return True
    except (OSError, ValueError):
        return False


def check_broker(settings: Settings) -> Iterator[Finding]:
    """See whether a broker answers."""
    servers = settings.kafka.bootstrap_servers
    if reachable(settings):
        yield fine("broker", f"{servers} answers")
    else:
        yield wrong(
            "broker",
            f"no Kafka broker answers at {servers}",
            "start it, or set HEADWATER_KAFKA__BOOTSTRAP_SERVERS to one that runs",
        )


def check_topics(settings: Settings) -> Iterator[Finding]:
    """Compare the topics with the settings: there at all, partitions, retention, clean-up, message size."""
    if not reachable(settings):
        return  # the broker's own line says it
    try:
        states = topics.describe(settings)
    except BrokerError as error:
        yield wrong("topics", str(error), "look at the broker's log")
        return
    for state in states:
        yield from _of_topic(state)


def _of_topic(state: TopicState) -> Iterator[Finding]:
    name = state.topic.name
    if not state.differences:
        yield fine("topics", f"{name} is as set ({state.partitions} partitions)")
    for difference in state.differences:
        yield wrong("topics", f"{name}: {difference}", _mend(state, difference))


def _mend(state: TopicState, difference: str) -> str:
    name = state.topic.name
    if difference == "missing":
        return "headwater topics"
    if "partitions" in difference:
        return (
            f"set HEADWATER_KAFKA__PARTITIONS={state.partitions} for every process, or move to new topics "
            "(docs/operations.md, Migrations): partitions cannot be changed in place, users would move"
        )
    setting = difference.split("=", 1)[0]
    wanted = state.wanted_configs[setting]
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}={wanted}"
