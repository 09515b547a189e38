"""The topics: their names, keys and retention, and how they are laid out on the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from streamer.errors import BrokerError
from streamer.settings import Settings

MILLISECONDS_A_DAY = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic and how it is kept.

    >>> EVENTS.name, EVENTS.compacted
    ('headwater.events', False)
    """

    name: str
    key: str
    compacted: bool = False
    single_partition: bool = False
    broker_time: bool = False
    max_message_bytes: int = 1_048_588  # Kafka's own default


EVENTS = Topic(name="headwater.events", key="user_id", broker_time=True)
ITEMS = Topic(name="headwater.items", key="item_id", compacted=True)
EXAMPLES = Topic(name="headwater.examples", key="user_id", max_message_bytes=8_388_608)
SOFT_LABELS = Topic(name="headwater.soft-labels", key="example_id")
WEIGHTS = Topic(
    name="headwater.weights", key="table:row", compacted=True, single_partition=True, max_message_bytes=67_108_864
)
MODELS = Topic(name="headwater.models", key="model name", compacted=True, single_partition=True)
DRIFT = Topic(name="headwater.drift", key="model name", single_partition=True)
# what did not fit elsewhere must fit here, with its headers
DEAD_LETTER = Topic(
    name="headwater.dead-letter", key="original key", single_partition=True, max_message_bytes=8_388_608
)

ALL = (EVENTS, ITEMS, EXAMPLES, SOFT_LABELS, WEIGHTS, MODELS, DRIFT, DEAD_LETTER)


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """What the broker has for one topic, beside what the settings ask for.

    ``configs`` holds only what the broker reports and the settings name (an embedded broker reports nothing).
    """

    topic: Topic
    partitions: int
    wanted_partitions: int
    configs: dict[str, str]
    wanted_configs: dict[str, str]

    @property
    def differences(self) -> list[str]:
        """One line for each thing that is not as the settings ask."""
        if not self.partitions:
            return ["missing"]
        found = []
        if self.partitions != self.wanted_partitions:
            found.append(f"{self.partitions} partitions, not {self.wanted_partitions}")
        found += [
            f"{name}={value}, not {self.wanted_configs[name]}"
            for name, value in sorted(self.configs.items())
            if value != self.wanted_configs[name]
        ]
        return found


def partitions_of(topic: Topic, settings: Settings) -> int:
    """How many partitions the topic gets."""
    return 1 if topic.single_partition else settings.kafka.partitions


def configs_of(topic: Topic, settings: Settings) -> dict[str, str]:
    """Broker-side settings of the topic.

    >>> configs_of(ITEMS, Settings())["cleanup.policy"]
    'compact'
    """
    configs = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "max.message.bytes": str(topic.max_message_bytes),
    }
    if not topic.compacted:
        configs["retention.ms"] = str(settings.kafka.log_retention_days * MILLISECONDS_A_DAY)
    if topic.broker_time:
        configs["message.timestamp.type"] = "LogAppendTime"  # freshness is measured from the broker's clock
    return configs


def create_topics(settings: Settings) -> list[str]:
    """Create every topic that is missing; what exists is left as it is.

    The partitions of an existing topic are never changed: a user's state lies in the partition of its key.

    Returns
    -------
    list[str]
        The names that were created now.

    Raises
    ------
    BrokerError
        Where no broker answers or it refuses a topic.
    """
    admin = _admin(settings)
    try:
        existing = set(admin.list_topics())
        return [topic.name for topic in ALL if topic.name not in existing and _create(admin, topic, settings)]
    except KafkaError as error:
        raise BrokerError(f"The broker {settings.kafka.bootstrap_servers} refused a topic: {error}") from error
    finally:
        admin.close()


def describe(settings: Settings) -> list[TopicState]:
    """List what the broker has, topic by topic, in the order of :data:`ALL`.

    Raises
    ------
    BrokerError
        Where no broker answers.
    """
    admin = _admin(settings)
    try:
        existing = set(admin.list_topics())
        names = [topic.name for topic in ALL if topic.name in existing]
        partitions = {found["name"]: len(found["partitions"]) for found in admin.describe_topics(names)}
        configs = _configs(admin, names) if names else {}
    except KafkaError as error:
        raise BrokerError(f"The broker {settings.kafka.bootstrap_servers} does not describe topics: {error}") from error
    finally:
        admin.close()
    return [_state(topic, settings, partitions, configs) for topic in ALL]


def _state(
    topic: Topic, settings: Settings, partitions: dict[str, int], configs: dict[str, dict[str, str]]
) -> TopicState:
    wanted = configs_of(topic, settings)
    reported = configs.get(topic.name, {})
    return TopicState(
        topic=topic,
        partitions=partitions.get(topic.name, 0),
        wanted_partitions=partitions_of(topic, settings),
        configs={name: reported[name] for name in wanted if name in reported},
        wanted_configs=wanted,
    )


def _admin(settings: Settings) -> KafkaAdminClient:
    servers = settings.kafka.bootstrap_servers
    try:
        return KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=10_000)
    except (KafkaError, ValueError) as error:
        raise BrokerError(
            f"No Kafka broker answers at kafka.bootstrap_servers={servers!r} ({error}). "
            "Start one, or set HEADWATER_KAFKA__BOOTSTRAP_SERVERS."
        ) from error


def _create(admin: KafkaAdminClient, topic: Topic, settings: Settings) -> bool:
    layout: dict[str, Any] = {
        "num_partitions": partitions_of(topic, settings),
        "replication_factor": settings.kafka.replication_factor,
        "configs": configs_of(topic, settings),
    }
    try:
        admin.create_topics({topic.name: layout}, wait_for_metadata=True)
    except TopicAlreadyExistsError:  # another process was faster
        return False
    return True


def _configs(admin: KafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    described: dict[str, dict[str, Any]] = admin.describe_configs(resources, config_filter=ConfigFilterType.ALL)[
        "topic"
    ]
    return {
        name: {key: str(value["value"] if isinstance(value, dict) else value) for key, value in configs.items()}
        for name, configs in described.items()
    }
