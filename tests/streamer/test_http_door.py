"""The door against producers that behave as aiokafka's does in an outage; real brokers die in the integration tests."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, NodeNotReadyError

from streamer.errors import BrokerError
from streamer.events import Limits
from streamer.http_door import KafkaDoor


class Producer:
    """Acknowledges at once, later, or never."""

    def __init__(self):
        self.answers, self.error, self.sent, self.futures = True, None, [], []

    async def send(self, topic, value, key):
        if self.error is not None:
            raise self.error
        self.sent.append(value)
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if self.answers:
            future.set_result(None)
        return future

    def recover(self):
        self.answers = True
        for future in self.futures:
            if not future.done():
                future.set_result(None)


def _event(number=0):
    fields = {"event_id": f"e{number}", "type": "interaction", "user_id": "u", "item_id": "i", "action": "click"}
    return json.dumps({**fields, "event_time_ms": time.time_ns() // 1_000_000}).encode()


def _impression():
    return {
        "event_id": "impression-1", "type": "impression", "user_id": "u", "impression_id": "1", "items": ["a"],
        "event_time_ms": time.time_ns() // 1_000_000,
    }  # fmt: skip


@pytest.fixture
def producer():
    return Producer()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def door(producer, now):
    return KafkaDoor(Limits(), producer, wait_seconds=0.02, most_waiting=2, clock=lambda: now[0])


async def test_an_event_is_accepted_once_it_is_acknowledged(door):
    assert await door.accept(_event()) == ("e0", None, None)
    assert door.silent_seconds == 0


async def test_impressions_go_together_and_no_event_overtakes_the_list_that_it_answers(producer):
    door = KafkaDoor(Limits(), producer)
    lists = [{**_impression(), "event_id": f"list-{number}", "user_id": f"u{number}"} for number in range(3)]
    waiting = [asyncio.create_task(door.publish_impression(one)) for one in lists[:2]]
    await asyncio.sleep(0)
    assert producer.sent == [], "they wait for each other"
    other, own = json.loads(_event(1)), json.loads(_event(2))
    await door.accept(json.dumps(other | {"user_id": "somebody else"}).encode())
    assert len(producer.sent) == 1, "nobody else has to wait, and nothing has left for that"
    await door.accept(json.dumps(own | {"user_id": "u1"}).encode())
    assert [json.loads(raw)["event_id"] for raw in producer.sent] == ["e1", "list-0", "list-1", "e2"]
    await asyncio.gather(*waiting)
    await asyncio.wait_for(door.publish_impression(lists[2]), 5)
    assert json.loads(producer.sent[-1])["event_id"] == "list-2", "alone, it goes after a moment"


async def test_without_a_producer_events_are_turned_away_at_once():
    _, reason, message = await KafkaDoor(Limits()).accept(_event())
    assert reason == "broker_unavailable" and "send it again" in message


async def test_a_silent_broker_is_waited_for_once_and_then_tried_now_and_then(door, producer, now):
    producer.answers = False
    assert (await door.accept(_event(1)))[1] == "broker_unavailable"
    now[0] = 1.0
    outcomes = [await door.accept(_event(number)) for number in range(2, 10)]
    assert {reason for _, reason, _ in outcomes} == {"broker_unavailable"}
    assert len(producer.sent) == 2, "one waited, one tried; the others were turned away at once"
    producer.recover()
    await asyncio.sleep(0)
    assert door.silent_seconds == 0
    assert await door.accept(_event(11)) == ("e11", None, None)


async def test_a_timeout_of_the_library_is_silence_and_a_refusal_is_an_answer(door, producer, now):
    producer.error = KafkaTimeoutError()
    await door.accept(_event())
    now[0] = 5.0
    assert door.silent_seconds == 5.0
    producer.error = MessageSizeTooLargeError("large")
    await door.accept(_event())
    assert door.silent_seconds == 0


async def test_impressions_wait_but_only_so_many(door, producer):
    producer.answers = False
    waiting = [asyncio.create_task(door.publish_impression(_impression())) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting), "nobody sends an impression again, so it waits"
    with pytest.raises(BrokerError, match="2 impressions wait"):
        await door.publish_impression(_impression())
    producer.recover()
    await asyncio.gather(*waiting)
    await door.publish_impression(_impression())


async def test_an_impression_that_the_library_gave_up_is_sent_again_until_its_patience_ends(producer, now, monkeypatch):
    monkeypatch.setattr("streamer.http_door._PROBE_SECONDS", 0.01)
    door = KafkaDoor(Limits(), producer, patience_seconds=100, clock=lambda: now[0])
    producer.error = NodeNotReadyError()
    patient = asyncio.create_task(door.publish_impression(_impression()))
    await asyncio.sleep(0.03)
    assert not patient.done()
    producer.error = None
    await patient
    assert len(producer.sent) == 1
    producer.error = KafkaTimeoutError()
    given_up = asyncio.create_task(door.publish_impression(_impression()))
    await asyncio.sleep(0.03)
    now[0] = 101.0
    with pytest.raises(KafkaTimeoutError):
        await given_up


async def test_new_limits_count_at_once(door):
    door.limits = Limits(max_event_bytes=10)
    assert (await door.accept(_event()))[1] == "too_large"
