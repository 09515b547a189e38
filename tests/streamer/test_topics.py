from __future__ import annotations

import pytest

from streamer import topics
from streamer.broker import embedded_broker, free_port
from streamer.commands.topics import table
from streamer.errors import BrokerError
from streamer.settings import Kafka, Settings
from streamer.topics import TopicState, configs_of, create_topics, describe


def test_single_partitions_and_policies() -> None:
    settings = Settings(kafka=Kafka(partitions=6, log_retention_days=2))
    assert topics.partitions_of(topics.EVENTS, settings) == 6
    assert topics.partitions_of(topics.WEIGHTS, settings) == 1
    assert configs_of(topics.EVENTS, settings)["retention.ms"] == str(2 * 86_400_000)
    assert configs_of(topics.EVENTS, settings)["message.timestamp.type"] == "LogAppendTime"
    assert "retention.ms" not in configs_of(topics.MODELS, settings)


def test_differences_are_told() -> None:
    state = TopicState(
        topic=topics.EVENTS, partitions=2, wanted_partitions=4, configs={"a": "1"}, wanted_configs={"a": "2"}
    )
    assert state.differences == ["2 partitions, not 4", "a=1, not 2"]


def test_no_broker_is_an_error_that_says_what_to_do() -> None:
    settings = Settings(kafka=Kafka(bootstrap_servers=f"127.0.0.1:{free_port()}"))
    with pytest.raises(BrokerError, match="HEADWATER_KAFKA__BOOTSTRAP_SERVERS"):
        create_topics(settings)


@pytest.mark.integration
def test_topics_are_created_once_and_described() -> None:
    with embedded_broker() as broker:
        settings = Settings(kafka=Kafka(bootstrap_servers=broker.bootstrap_servers, partitions=3))
        assert describe(settings)[0].differences == ["missing"]
        assert create_topics(settings) == [topic.name for topic in topics.ALL]
        assert create_topics(settings) == []
        states = describe(settings)
        assert [state.differences for state in states] == [[]] * len(topics.ALL)
        assert [state.partitions for state in states] == [3, 3, 3, 3, 1, 1, 1, 1]
        assert len(table(states, {topics.EVENTS.name}).rows) == len(topics.ALL)


@pytest.mark.integration
def test_the_settings_of_topics_reach_the_broker(settings: Settings) -> None:
    create_topics(settings)
    events = describe(settings)[0]
    if not events.configs:
        pytest.skip("this broker reports no settings of topics")
    assert events.differences == []
    assert events.configs["message.timestamp.type"] == "LogAppendTime"
