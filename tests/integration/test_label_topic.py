"""What the teacher reads back from the label topic after a kill, on whatever broker the tests have."""

from __future__ import annotations

import asyncio

import pytest

from exporters.announcements import Announcement
from streamer.announcing import announce
from streamer.broker import embedded_broker
from streamer.label_topic import LabelTopic
from streamer.model_requests import ModelRequests
from streamer.refresh_requests import ask_for_refresh
from streamer.repeated_batches import Given
from streamer.settings import Kafka, Settings
from streamer.soft_labels import SoftLabel
from streamer.topics import create_topics

pytestmark = pytest.mark.integration


def labels(first: int, count: int) -> list[SoftLabel]:
    return [
        SoftLabel(
            example_id=f"x{number}", version="teacher-000001", event_time_ms=0, labelled_ms=0, partition=0,
            offset=number, item_ids=["i"], logits=[0.5], learnt=number // 10,
        )
        for number in range(first, first + count)
    ]  # fmt: skip


async def check_reading_back(settings: Settings) -> None:
    writer = LabelTopic(settings)
    await writer.start()
    assert await writer.written_since(None) == {}
    await writer.send(labels(0, 200))
    noted = dict(writer.ends)
    await writer.send(labels(200, 33))
    await writer.stop()

    after_a_kill = LabelTopic(settings)
    await after_a_kill.start()
    assert await after_a_kill.written_since(noted) == {
        f"x{number}": Given(learnt=number // 10, partition=0, offset=number) for number in range(200, 233)
    }
    assert after_a_kill.ends == writer.ends
    assert await after_a_kill.written_since(after_a_kill.ends) == {}
    assert len(await after_a_kill.written_since(dict.fromkeys(noted, 0))) == 233
    await after_a_kill.stop()


async def test_labels_behind_a_snapshot_are_found_again(fresh_topics: Settings) -> None:
    await check_reading_back(fresh_topics)


async def test_the_embedded_broker_has_no_producer_ids_and_another_idea_of_an_end() -> None:
    with embedded_broker() as broker:
        settings = Settings(kafka=Kafka(bootstrap_servers=broker.bootstrap_servers))
        create_topics(settings)
        await check_reading_back(settings)


async def test_a_request_reaches_who_follows_and_nobody_else(fresh_topics: Settings) -> None:
    settings, heard = fresh_topics, asyncio.Event()
    await asyncio.to_thread(ask_for_refresh, settings, "teacher")  # of before the start
    requests = ModelRequests(settings, "teacher", "asked", lambda _: heard.set())
    await requests.start()
    following = asyncio.create_task(requests.follow())
    await asyncio.to_thread(ask_for_refresh, settings, "another")
    published = Announcement(name="teacher", kind="published")
    await asyncio.to_thread(announce, published, settings.kafka.bootstrap_servers)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(heard.wait(), 1)
    await asyncio.to_thread(ask_for_refresh, settings, "teacher")
    await asyncio.wait_for(heard.wait(), 20)
    following.cancel()
    await requests.close()
