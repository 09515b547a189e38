"""Faust's own loop over rounds of records, with a seek in the middle of one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP

from streamer.faust_process import transport_of

PARTITION, OTHER = TP("headwater.examples", 2), TP("headwater.examples", 0)


class Rounds:
    """What the broker has, given out in rounds from where the last seek went."""

    def __init__(self, consumer: Any, end: int) -> None:
        self.consumer, self.end, self.position = consumer, end, 161
        self.got: list[tuple[int, int]] = []
        self.seeks: list[tuple[TP, int]] = []

    async def fetch(self, active_partitions: Any, timeout: float) -> dict[TP, list[Any]]:
        await asyncio.sleep(0)
        if self.position >= self.end:
            self.consumer._stopped.set()
            return {}
        records = [record(offset) for offset in range(self.position, self.end)]
        self.position = self.end
        return {PARTITION: records, OTHER: [record(number) for number in range(3)] if len(self.got) < 2 else []}

    async def seek(self, partition: TP, offset: int) -> None:
        self.seeks.append((partition, offset))
        self.position = offset

    async def take(self, message: Any) -> None:
        self.got.append((message.partition, message.offset))
        if self.got.count((2, 161)) == 1 and message.offset == 161:  # the guard sees the gap, others are under way
            await self.consumer.seek(PARTITION, 140)
        await asyncio.sleep(0)


def record(offset: int) -> Any:
    return SimpleNamespace(offset=offset, key=None, value=None)


@pytest.fixture
async def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    app = faust.App("test", broker="kafka://127.0.0.1:1", web_enabled=False)
    transport = transport_of(app, 10)
    nothing = SimpleNamespace()
    consumer = transport.Consumer(
        transport, callback=nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing
    )
    made = Rounds(consumer, 170)
    consumer.callback = made.take
    consumer.flow_active = True
    monkeypatch.setattr(consumer, "_getmany", made.fetch)
    monkeypatch.setattr(consumer, "_seek", made.seek)
    monkeypatch.setattr(consumer, "_get_active_partitions", lambda: {PARTITION, OTHER})
    monkeypatch.setattr(consumer, "assignment", lambda: {PARTITION, OTHER})
    monkeypatch.setattr(consumer, "highwater", lambda tp: 170)
    monkeypatch.setattr(
        consumer,
        "_to_message",
        lambda tp, one: SimpleNamespace(topic=tp.topic, partition=tp.partition, **vars(one)),
    )
    return made


async def test_what_was_fetched_before_a_seek_does_not_undo_it(rounds: Rounds) -> None:
    await asyncio.wait_for(rounds.consumer._drain_messages(rounds.consumer), 20)
    assert rounds.seeks == [(PARTITION, 140)]
    read = [offset for partition, offset in rounds.got if partition == PARTITION.partition]
    assert read == [161, *range(140, 170)], "everything from the seek on, and nothing between"
    assert {offset for partition, offset in rounds.got if partition == OTHER.partition} == {0, 1, 2}


async def test_a_partition_that_another_process_has_by_now_is_left_alone(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds.consumer, "assignment", lambda: {OTHER})
    await asyncio.wait_for(rounds.consumer._drain_messages(rounds.consumer), 20)
    assert rounds.seeks == []
