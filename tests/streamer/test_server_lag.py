from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from streamer import server_lag
from streamer.server_lag import LagWatch


class Broker:
    """Where topics stand, or nothing."""

    def __init__(self):
        self.now, self.places, self.hangs = 0.0, {"weights": (5, 5)}, False

    async def ask(self):
        if self.hangs:
            await asyncio.sleep(60)
        if self.places is None:
            raise KafkaConnectionError("gone")
        return self.places


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def watch(broker):
    return LagWatch(broker.ask, staleness_seconds=30, clock=lambda: broker.now)


async def test_lag_is_what_is_there_but_not_applied(watch, broker):
    broker.places = {"weights": (5, 9), "items": (3, 3), "odd": (4, 2)}
    await watch.look()
    assert watch.lag == {"weights": 4, "items": 0, "odd": 0} and watch.reasons() == []


async def test_a_silent_broker_is_a_reason_after_its_time_and_none_once_it_is_back(watch, broker):
    await watch.look()
    broker.places = None
    broker.now = 29
    await watch.look()
    assert watch.reasons() == []
    broker.now = 31
    await watch.look()
    assert "silent for 31 s" in watch.reasons()[0]
    broker.places = {"weights": (5, 5)}
    await watch.look()
    assert watch.reasons() == []


async def test_a_broker_that_hangs_is_silent_too(watch, broker, monkeypatch):
    monkeypatch.setattr(server_lag, "_ANSWER_SECONDS", 0.01)
    broker.hangs, broker.now = True, 40
    await watch.look()
    assert "silent" in watch.reasons()[0]


async def test_rows_that_stand_still_while_there_are_new_ones_are_a_reason(watch, broker):
    for broker.now, broker.places in ((0, {"weights": (5, 9)}), (40, {"weights": (5, 11)})):
        await watch.look()
    (reason,) = watch.reasons()
    assert "weights has 6 new records" in reason and "40 s" in reason
    broker.places = {"weights": (6, 12)}  # slow, but moving
    await watch.look()
    assert watch.reasons() == []


async def test_a_quiet_topic_is_none(watch, broker):
    for broker.now in range(0, 200, 10):
        await watch.look()
    assert watch.reasons() == []
