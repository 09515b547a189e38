"""Drift on a real broker: an alarm is a record, its action changes the learner, an operator takes it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from feature_store.vectors import NAMES
from streamer import examples, topics
from streamer.commands import watch
from streamer.drift import records
from streamer.drift.hands import groups
from streamer.drift.records import Action, Alarm, Request
from streamer.drift.settings import Drift
from streamer.examples import Example, History, Position
from streamer.settings import Learning, Settings
from streamer.trainer import Trainer

pytestmark = pytest.mark.integration

DRIFT = Drift(
    mode="act",
    reference_examples=100,
    names_window_examples=50,
    for_examples=100_000,
    actions={"surfaces": ["learning_rate"]},
)


def event(number: int, surface: str) -> Any:
    example = Example(
        example_id=f"x{number}",
        kind="interaction",
        source=Position(0, number),
        user_id=f"u{number % 40}",
        item_id=f"i{number % 12}",
        action="view",
        event_time_ms=1_700_000_000_000 + 1_000 * number,
        published_time_ms=1_700_000_000_000 + 1_000 * number,
        history=History([], [], []),
        session_length=0,
        features=[1.0] + [0.0] * (len(NAMES) - 1),
        surface=surface,
    )
    message = SimpleNamespace(partition=0, offset=number, timestamp=1.5, key=b"u", value=examples.encode(example))
    return SimpleNamespace(message=message, ack=lambda: None)


async def learn(trainer: Trainer, first: int, last: int, surface: str) -> None:
    async def seek(partition: int, offset: int) -> None:
        raise AssertionError("no gap")

    for number in range(first, last, 32):
        events = [event(one, surface) for one in range(number, min(number + 32, last))]
        await trainer.handle(events, seek, lambda partition: None)


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"60 s have not been enough until {what}")


async def test_an_alarm_is_written_acts_and_is_reverted(fresh_topics: Settings, read_topic) -> None:
    sizes = Learning(catalog_rows=32, dimension=8, candidates=10, neighbours=10, distillation="off")
    settings = fresh_topics.model_copy(update={"learning": sizes, "drift": DRIFT})

    def written() -> list[Any]:
        return [records.decode(record.value) for record in read_topic(topics.DRIFT.name)]

    trainer = Trainer(settings)
    await trainer.start()
    try:
        optimizer = trainer.student.network.learner.optimizer
        before = [group["lr"] for group in groups(optimizer)]
        await learn(trainer, 0, 384, "home")
        await learn(trainer, 384, 512, "search")
        await until(lambda: len(written()) >= 2, "alarm and action are on the topic")
        alarm, begun = written()[:2]
        assert isinstance(alarm, Alarm) and alarm.signal == "surfaces" and alarm.moved
        assert isinstance(begun, Action) and (begun.state, begun.alarm) == ("started", alarm.id)
        assert [group["lr"] for group in groups(optimizer)] == [2 * rate for rate in before]
        request = Request(model=trainer.name, wish="revert", subject=begun.id, reason="seen enough")
        await asyncio.to_thread(watch.ask, settings, request)
        await until(lambda: isinstance(written()[-1], Action) and len(written()) >= 4, "the revert is on the topic")
        reverted = written()[-1]
        assert (reverted.id, reverted.state, reverted.reason) == (begun.id, "reverted", "seen enough")
        assert [group["lr"] for group in groups(optimizer)] == before
        shown = await asyncio.to_thread(lambda: list(watch.follow(settings, history=2, once=True)))
        assert shown == written()[-2:]
    finally:
        await trainer.stop()
