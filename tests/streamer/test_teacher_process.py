"""The order of things in the teacher's process: labels, then the snapshot, then the acknowledgement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from exporters import announcements
from online_models import state_tree
from streamer import examples, teacher_process, topics
from streamer.errors import SettingsError, StateInUseError
from streamer.examples import Example
from streamer.repeated_batches import Given
from streamer.settings import Settings
from streamer.settings import Teacher as Sizes
from streamer.soft_labels import SoftLabel
from streamer.state_lock import StateLock
from streamer.teacher_process import TeacherProcess


@dataclass
class Broker:
    """Remembers what was written, acknowledged and asked for again; stands in for both ends of the connection."""

    written: list[SoftLabel] = field(default_factory=list)
    told: list[tuple[str, bytes]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    seeks: list[tuple[int, int]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=lambda: {0: 0})
    refuses: bool = False

    def event(self, offset: int, one: Example) -> Any:
        message = SimpleNamespace(partition=0, offset=offset, timestamp=1.5, key=b"u", value=examples.encode(one))
        return SimpleNamespace(message=message, ack=lambda: self.acknowledged.append(offset))

    async def feed(self, process: TeacherProcess, made: list[Example], size: int = 16) -> None:
        """Let a process have examples from the beginning of their partition, in micro-batches."""
        for first in range(0, len(made), size):
            await process.handle(self.events(made[first : first + size], first), self.seek, self.highwater)

    def events(self, made: list[Example], first: int = 0) -> list[Any]:
        return [self.event(offset, one) for offset, one in enumerate(made, start=first)]

    async def seek(self, partition: int, offset: int) -> None:
        self.seeks.append((partition, offset))

    def highwater(self, partition: int) -> int | None:
        """Nothing is known of the end."""

    async def send(self, labels: Sequence[SoftLabel]) -> None:
        if self.refuses:
            raise ConnectionError("the broker is gone")
        self.written += labels
        self.ends = {0: len(self.written)}

    async def publish(self, topic: str, value: bytes, key: bytes | None) -> None:
        self.told.append((topic, value))

    async def written_since(self, ends: Mapping[int, int] | None) -> dict[str, Given]:
        return {} if ends is None else {label.example_id: Given.of(label) for label in self.written[ends[0] :]}


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def start(small_settings: Settings, broker: Broker) -> Callable[..., Any]:
    """Start processes of the same settings, one after the other, as after a kill; none is connected."""

    async def make(**sizes: Any) -> TeacherProcess:
        usual = {"segment_examples": 16, "first_refresh_examples": 64, "epochs": 1, "refresh_seconds": 300.0}
        chosen = Sizes(**(usual | sizes))
        made = TeacherProcess(small_settings.model_copy(update={"teacher": chosen}))
        made.labels = broker  # type: ignore[assignment]
        ends = made._resume()
        made._repeat(await broker.written_since(ends))
        if ends is None:
            made._save()
        return made

    return make


async def test_examples_are_acknowledged_only_once_a_snapshot_holds_them(start, broker: Broker, walk) -> None:
    one = await start()
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    assert [label.offset for label in broker.written] == list(range(8)) and broker.acknowledged == []
    await one.save()
    assert broker.acknowledged == list(range(8))
    state = one._snapshots.latest().state
    assert state["offsets"] == {"0": 7} and state["label_ends"] == {"0": 8}
    files = one._snapshots.paths()
    await one.save()
    assert one._snapshots.paths() == files, "nothing new: nothing is written"


async def test_after_a_kill_nothing_is_labelled_twice_and_nothing_skipped(start, broker: Broker, walk) -> None:
    made = walk(24)
    first = await start()
    await first.handle(broker.events(made[:8]), broker.seek, broker.highwater)
    await first.save()
    await first.handle(broker.events(made[8:16], 8), broker.seek, broker.highwater)  # killed before the next snapshot
    second = await start()
    assert second.teacher.labelled == 8
    await second.handle(broker.events(made), broker.seek, broker.highwater)  # from the beginning, as a broker may
    assert [label.example_id for label in broker.written] == [example.example_id for example in made]
    assert second.teacher.labelled == 24, "what has its label is counted and kept for the window all the same"
    await second.save()
    third = await start()
    assert third._already == {}
    await third.handle(broker.events(walk(4, 24), 24), broker.seek, broker.highwater)
    assert len(broker.written) == 28


async def test_after_a_kill_the_next_labels_are_those_that_the_killed_process_would_have_given(
    start, broker: Broker, walk
) -> None:
    """Micro-batches are cut otherwise by the second process, and those before are put together as they were."""
    made, cuts = walk(56), (0, 16, 24, 40)
    first = await start()
    await broker.feed(first, made[:16])
    await first.save()
    for begin, end in zip(cuts[1:], cuts[2:], strict=False):
        await first.handle(broker.events(made[begin:end], begin), broker.seek, broker.highwater)
    broker_of_the_first, broker.written = broker.written, list(broker.written)
    second = await start()
    for begin in range(16, 40, 5):  # what is not complete waits, and no snapshot says that it has been taken
        await second.handle(broker.events(made[begin : min(begin + 5, 40)], begin), broker.seek, broker.highwater)
        await second.save()
        assert second._snapshots.latest().state["teacher"]["labelled"] in (16, 24, 40)
    assert second._repeated.over and not second._repeated.waiting and broker.written == broker_of_the_first
    assert state_tree.equal(second.teacher.network.state_dict(), first.teacher.network.state_dict())
    await second.handle(broker.events(made[40:], 40), broker.seek, broker.highwater)
    found, broker.written = broker.written, broker_of_the_first
    await first.handle(broker.events(made[40:], 40), broker.seek, broker.highwater)
    assert [(one.example_id, one.learnt, one.logits) for one in found] == [
        (one.example_id, one.learnt, one.logits) for one in broker.written
    ]


async def test_of_a_micro_batch_half_written_the_other_half_is_labelled_anew(start, broker: Broker, walk) -> None:
    made = walk(24)
    first = await start()
    await first.handle(broker.events(made[:16]), broker.seek, broker.highwater)
    del broker.written[10:]  # the broker had not taken more when the process was killed
    second = await start()
    await second.handle(broker.events(made), broker.seek, broker.highwater)
    assert [one.example_id for one in broker.written] == [example.example_id for example in made]
    assert [one.learnt for one in broker.written] == [0] * 10 + [10] * 14


async def test_one_teacher_at_a_time(small_settings: Settings) -> None:
    one = TeacherProcess(small_settings)
    held = StateLock(small_settings.stores.snapshots_dir / "teacher", "a teacher")
    with pytest.raises(StateInUseError, match=r"a teacher runs on .*teacher already; stop that one"):
        await one.start()
    held.close()


async def test_a_kill_before_the_first_snapshot(start, broker: Broker, walk) -> None:
    first = await start()
    await first.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    second = await start()
    await second.handle(broker.events(walk(12)), broker.seek, broker.highwater)
    assert len({label.example_id for label in broker.written}) == len(broker.written) == 12


async def test_what_the_broker_has_not_taken_is_in_no_snapshot(start, broker: Broker, walk) -> None:
    one = await start()
    broker.refuses = True
    with pytest.raises(ConnectionError):
        await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await one.save()
    assert broker.acknowledged == []
    broker.refuses = False
    again = await start()
    assert again.positions.offsets == {}
    await again.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    assert len(broker.written) == 8


async def test_nothing_takes_over_and_nothing_is_saved_once_labelling_has_failed(start, broker: Broker, walk) -> None:
    one, made = await start(epochs=5), walk(72)
    await broker.feed(one, made[:64])
    await one.save()
    files, broker.refuses = one._snapshots.paths(), True
    with pytest.raises(ConnectionError):
        await one.handle(broker.events(made[64:], 64), broker.seek, broker.highwater)
    assert await one.refresh("request") is None
    await one.save()
    assert one._snapshots.paths() == files and broker.told == []


async def test_a_gap_is_read_again_and_nothing_behind_it_is_labelled(start, broker: Broker, walk) -> None:
    one, made = await start(), walk(8)
    await one.handle(broker.events(made[:3]), broker.seek, broker.highwater)
    await one.handle(broker.events(made[5:], first=5), broker.seek, broker.highwater)
    assert broker.seeks == [(0, 3)] and len(broker.written) == 3
    await one.save()
    assert broker.acknowledged == [0, 1, 2]


async def test_a_new_version_is_in_a_snapshot_before_its_first_label(start, broker: Broker, walk) -> None:
    one = await start(epochs=5)
    await broker.feed(one, walk(64))
    assert one.due() == "first"
    refreshed = await one.refresh("first")
    assert refreshed is not None and refreshed.better
    assert one.teacher.version == "teacher-000002" and one.due() == ""
    after_a_kill = await start()
    assert after_a_kill.teacher.version == "teacher-000002"
    ((topic, raw),) = broker.told
    said = announcements.decode(raw)
    assert (topic, said.name, said.kind, said.version) == (topics.MODELS.name, "teacher", "published", "teacher-000002")
    assert said.metrics["held_out_loss_after"] <= said.metrics["held_out_loss_before"] and said.offsets == {"0": 63}


async def test_a_refresh_that_was_cut_off_leaves_nothing_and_begins_again(start, broker: Broker, walk) -> None:
    one = await start(epochs=10_000)
    await broker.feed(one, walk(64))
    await one.save()
    one._stopping.set()
    assert await one.refresh("first") is None
    again = await start()
    assert again.teacher.version == "teacher-000001" and again.due() == "first" and broker.told == []


async def test_why_a_refresh_begins(start, broker: Broker, walk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await start(refresh_seconds=100, drift_pause_seconds=50)
    one.ask()
    assert one.due() == "", "there is nothing to learn yet"
    await broker.feed(one, walk(40))
    assert one.due() == "request"
    await one.refresh("request")
    assert one.due() == ""
    now = one.teacher.refreshed_s
    one.teacher.drifted = True
    for later, expected in ((49, ""), (51, "drift")):
        monkeypatch.setattr(teacher_process.time, "time", lambda later=later: now + later)
        assert one.due() == expected
    one.teacher.drifted = False
    monkeypatch.setattr(teacher_process.time, "time", lambda: now + 101)
    assert one.due() == "", "nothing has come since"
    await one.handle(broker.events(walk(4, 40), 40), broker.seek, broker.highwater)
    assert one.due() == "interval"


async def test_a_teacher_that_learns_refreshes_only_when_it_is_asked(
    start, broker: Broker, walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start(refresh_seconds=None)
    await broker.feed(one, walk(64))
    later = one.teacher.refreshed_s + 10_000
    monkeypatch.setattr(teacher_process.time, "time", lambda: later)
    assert one.due() == ""
    one.teacher.drifted = True
    assert one.due() == "drift"
    one.ask("request")
    assert one.due() == "request"
    assert Sizes(learns=False).interval_seconds == 300.0


async def test_another_scale_is_refused(start) -> None:
    await start(scale=1)
    with pytest.raises(SettingsError, match="8 wide, .* is 16"):
        await start(scale=2)
