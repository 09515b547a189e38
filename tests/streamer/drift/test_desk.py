"""The trainer's end of the drift topic, with the real trainer; only Kafka is remembered instead of written."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from exporters import announcements
from exporters.registry import Draft, GraphFile
from exporters.timeline import Timeline
from streamer import examples, topics
from streamer.drift import records
from streamer.drift.hands import groups
from streamer.drift.marks import mark_of, note_drift
from streamer.drift.records import Action, Request, describe
from streamer.drift.settings import Drift
from streamer.settings import Settings
from streamer.trainer import Trainer


class Producer:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []

    async def send_and_wait(self, topic: str, value: bytes, key: bytes) -> None:
        self.sent.append((topic, value, key))

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[Any]:
        """Send; the future has the place of the record."""
        await self.send_and_wait(topic, value, key)
        there: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        there.set_result(SimpleNamespace(offset=len(self.sent)))
        return there

    async def flush(self) -> None:
        """All of it is there at once."""

    def take(self, topic: str) -> list[bytes]:
        found = [value for name, value, _ in self.sent if name == topic]
        self.sent = [one for one in self.sent if one[0] != topic]
        return found


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
async def trainer(small_settings: Settings, producer: Producer) -> Trainer:
    drift = Drift(mode="act", for_examples=64)
    made = Trainer(small_settings.model_copy(update={"drift": drift}))
    made._producer = made._rows.producer = producer  # type: ignore[assignment]
    return made


def wish(trainer: Trainer, offset: int, kind: str, subject: str) -> None:
    request = Request(model=trainer.name, wish=kind, subject=subject, reason="a test")
    assert trainer._drift is not None
    trainer._drift._requests.put_nowait((offset, request))


async def learn(trainer: Trainer, made: list[Any], first: int = 0) -> None:
    async def seek(partition: int, offset: int) -> None:
        raise AssertionError("no gap")

    events = [
        SimpleNamespace(
            message=SimpleNamespace(partition=0, offset=offset, timestamp=1.5, key=b"u", value=examples.encode(one)),
            ack=lambda: None,
        )
        for offset, one in enumerate(made, start=first)
    ]
    await trainer.handle(events, seek, lambda partition: None)


async def report(trainer: Trainer, producer: Producer) -> list[Any]:
    await trainer.report_drift()
    return [records.decode(value) for value in producer.take(topics.DRIFT.name)]


def rates(trainer: Trainer) -> list[float]:
    return [group["lr"] for group in groups(trainer.student.network.learner.optimizer)]


async def test_an_action_that_was_asked_for_changes_the_learner_and_ends(trainer, producer, walk) -> None:
    before = rates(trainer)
    wish(trainer, 4, "start", "learning_rate")
    (begun,) = await report(trainer, producer)
    assert (begun.kind, begun.state, begun.reason) == ("learning_rate", "started", "a test")
    assert rates(trainer) == [2 * rate for rate in before] and trainer.student.drift.requests_read == 5
    await learn(trainer, walk(64))
    (ended,) = await report(trainer, producer)
    assert (ended.id, ended.state) == (begun.id, "ended") and rates(trainer) == before


async def test_a_hold_stops_publishing_until_it_is_reverted(trainer, producer, walk) -> None:
    wish(trainer, 0, "start", "hold")
    (begun,) = await report(trainer, producer)
    told = [announcements.decode(value) for value in producer.take(topics.MODELS.name)]
    assert [one.kind for one in told] == ["held"]
    await learn(trainer, walk(16))
    await trainer.publish_dense()
    await trainer.publish_rows()
    assert trainer._registry.versions(trainer.name) == [] and producer.take(topics.WEIGHTS.name) == []
    wish(trainer, 1, "revert", begun.id)
    (reverted,) = await report(trainer, producer)
    assert (reverted.id, reverted.state) == (begun.id, "reverted")
    await trainer.publish_rows()
    assert producer.take(topics.WEIGHTS.name)


async def test_a_hold_of_somebody_else_is_not_lifted(trainer, producer) -> None:
    trainer._registry.hold(trainer.name, "an operator")
    wish(trainer, 0, "start", "hold")
    (begun,) = await report(trainer, producer)
    wish(trainer, 1, "revert", begun.id)
    await report(trainer, producer)
    held = trainer._registry.held(trainer.name)
    assert held is not None and held.reason == "an operator"


async def test_the_teacher_is_asked_over_the_models_topic(trainer, producer) -> None:
    wish(trainer, 0, "start", "refresh_teacher")
    await report(trainer, producer)
    (asked,) = [announcements.decode(value) for value in producer.take(topics.MODELS.name)]
    assert (asked.name, asked.kind, asked.reason) == ("teacher", "asked", "drift: a test")


async def test_a_roll_back_pins_the_version_before_and_its_revert_releases(trainer, producer) -> None:
    wish(trainer, 0, "start", "roll_back")
    (refused,) = await report(trainer, producer)
    assert refused.state == "refused", "there is nothing to go back to"
    graph = GraphFile(content=b"a graph", architecture="small", inputs=(), outputs=())
    versions = [
        trainer._registry.publish(Draft(name=trainer.name, graphs={"rank": graph}, step=step)).version
        for step in (1, 2)
    ]
    wish(trainer, 1, "start", "roll_back")
    (begun,) = await report(trainer, producer)
    (told,) = [announcements.decode(value) for value in producer.take(topics.MODELS.name)]
    assert (begun.state, told.kind, told.version) == ("started", "rolled_back", versions[0])
    wish(trainer, 2, "revert", begun.id)
    await report(trainer, producer)
    (told,) = [announcements.decode(value) for value in producer.take(topics.MODELS.name)]
    assert (told.kind, told.version) == ("released", versions[1])


def test_the_time_line_keeps_one_mark_of_an_action_and_reads_on_after_rubbish() -> None:
    timeline = Timeline()
    action = Action(id="replay-1", model="student", kind="replay", state="started", time_ms=5)
    other = Action(id="replay-2", model="stranger", kind="replay", state="started", time_ms=6)
    ended = Action(id="replay-1", model="student", kind="replay", state="ended", time_ms=9)
    told: list[records.Record] = [action, other, ended, Request(model="student", wish="revert", subject="x")]
    raw = [b"{", None, *[records.encode(one) for one in told]]
    for value in raw:
        note_drift(timeline, value, {"student"})
    (mark,) = timeline.document()["drift"]
    assert (mark["kind"], mark["what"], mark["state"], mark["time_ms"]) == ("action", "replay", "ended", 9)
    assert mark["text"] == describe(ended) and mark_of(Request(model="m", wish="start", subject="hold")) is None
