"""The processes: who reads which topic and how far behind, and who answers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpx
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from streamer import topics
from streamer.doctor.broker import reachable
from streamer.doctor.finding import Finding, fine, wrong
from streamer.model_names import GROUP as TRAINER
from streamer.model_names import named
from streamer.settings import Settings

WORKER, TEACHER = "headwater-worker", "headwater-teacher"  # their modules import Faust, which takes seconds
MOST_LAG_MESSAGES = 10_000


def check_groups(settings: Settings, most_lag: int = MOST_LAG_MESSAGES) -> Iterator[Finding]:
    """Ask the broker who reads the stream and how far behind they are.

    Parameters
    ----------
    settings
        The broker, and the names of the students that are served.
    most_lag
        Messages that a reader may be behind.
    """
    if not reachable(settings):
        return
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    try:
        for group, (topic, command) in _readers(settings).items():
            yield from _of_group(admin, group, topic, command, most_lag)
    except KafkaError as error:
        yield wrong("processes", f"the broker does not describe its groups ({error!r})", "look at the broker's log")
    finally:
        admin.close()


def _readers(settings: Settings) -> dict[str, tuple[str, str]]:
    """Topic and command by consumer group; students learn without the teacher, so nobody misses that."""
    readers = {WORKER: (topics.EVENTS.name, "headwater worker")}
    for name in settings.serving.students:
        readers[named(TRAINER, name)] = (topics.EXAMPLES.name, f"headwater train --name {name}")
    return readers | {TEACHER: (topics.EXAMPLES.name, "headwater teach")}


def _of_group(admin: KafkaAdminClient, group: str, topic: str, command: str, most_lag: int) -> Iterator[Finding]:
    readers = _members(admin, group)
    if readers == 0 and group == TEACHER:
        yield fine("processes", "no teacher runs; students learn from hard labels alone")
        return
    if readers == 0:
        yield wrong("processes", f"nobody reads {topic} as {group}", f"start `{command}`; its log says why it ended")
        return
    behind = _lag(admin, group, topic)
    who = "unknown readers" if readers is None else f"{readers} readers"
    said = f"{group}: {who} of {topic}, {behind} messages behind"
    if behind > most_lag:
        yield wrong("processes", said, "start another process of its kind, or see docs/operations.md#consumerlag")
    else:
        yield fine("processes", said)


def _members(admin: KafkaAdminClient, group: str) -> int | None:
    """How many read as this group; None where the broker's description is none that the client reads."""
    try:
        described: Mapping[str, Any] = admin.describe_groups([group])[group]
    except ValueError:  # the embedded broker describes a group's permissions by numbers that Kafka does not have
        return None
    return len(described.get("members") or ())


def _lag(admin: KafkaAdminClient, group: str, topic: str) -> int:
    partitions = len(admin.describe_topics([topic])[0]["partitions"])
    all_of_them = [TopicPartition(topic, number) for number in range(partitions)]
    ends = _offsets(admin.list_partition_offsets({one: OffsetSpec.LATEST for one in all_of_them}))
    begins = _offsets(admin.list_partition_offsets({one: OffsetSpec.EARLIEST for one in all_of_them}))
    committed = admin.list_group_offsets({group: all_of_them})[group]
    # nothing is committed before the first message, and what retention removed is nobody's lag
    applied = {one: max(committed[one].offset if one in committed else -1, begins[one]) for one in all_of_them}
    return sum(max(ends[one] - applied[one], 0) for one in all_of_them)


def _offsets(found: Mapping[TopicPartition, Any]) -> dict[TopicPartition, int]:
    return {one: int(getattr(answer, "offset", answer)) for one, answer in found.items()}


def check_servers(settings: Settings, addresses: Iterable[str] = ()) -> Iterator[Finding]:
    """Ask the server whether it is ready, and other addresses for their metrics.

    Parameters
    ----------
    settings
        Where the server listens.
    addresses
        Further ones, ``http://host:port``: metrics of workers, trainers and the teacher.
    """
    host = "127.0.0.1" if settings.serving.host == "0.0.0.0" else settings.serving.host
    yield from _answer(
        f"http://{host}:{settings.serving.port}/health/ready",
        lambda answer: f"the server is not ready: {answer.text[:200]}",
        "start `headwater serve`; while it reads its topics it is not ready yet",
    )
    for address in addresses:
        yield from _answer(
            f"{address.rstrip('/')}/metrics",
            lambda answer: f"{answer.url} answers {answer.status_code}",
            "see whether the process runs and HEADWATER_METRICS_PORT is the port that you asked",
        )


def _answer(url: str, refused: Callable[[httpx.Response], str], mend: str) -> Iterator[Finding]:
    try:
        answer = httpx.get(url, timeout=5)
    except httpx.HTTPError as error:
        yield wrong("processes", f"{url} does not answer ({error})", mend)
        return
    yield fine("processes", f"{url} answers") if answer.is_success else wrong("processes", refused(answer), mend)
