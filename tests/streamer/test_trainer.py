from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest

from exporters import deltas
from feature_store.user_state import ItemInfo
from online_models import state_tree
from streamer import examples, metrics, topics, trainer
from streamer.errors import HeadwaterError
from streamer.example_stream import MicroBatchSize
from streamer.examples import Example
from streamer.row_publisher import RowPublisher
from streamer.settings import Settings
from streamer.trainer import Trainer, create_app


@dataclass
class Broker:
    """Remembers what was sent, acknowledged and asked for again."""

    sent: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    seeks: list[tuple[int, int]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)

    def event(self, offset: int, value: Example | bytes, partition: int = 0) -> Any:
        raw = value if isinstance(value, bytes) else examples.encode(value)
        message = SimpleNamespace(partition=partition, offset=offset, timestamp=1.5, key=b"u", value=raw)
        return SimpleNamespace(message=message, ack=lambda: self.acknowledged.append(offset))

    def events(self, made: list[Example], first: int = 0) -> list[Any]:
        return [self.event(offset, one) for offset, one in enumerate(made, start=first)]

    async def seek(self, partition: int, offset: int) -> None:
        self.seeks.append((partition, offset))

    def highwater(self, partition: int) -> int | None:
        """Offset behind the last record, where it is known."""
        return self.ends.get(partition)

    async def send(self, topic: str, value: bytes, key: bytes) -> None:
        self.sent.append((topic, value, key))

    async def flush(self) -> None:
        """All of it is acknowledged at once."""


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def start(small_settings: Settings, broker: Broker) -> Callable[[], Trainer]:
    """Make trainers of the same settings, one after the other; none is connected."""

    def make() -> Trainer:
        made = Trainer(small_settings)
        made._producer = made._rows.producer = broker  # type: ignore[assignment]
        made._resume()
        return made

    return make


async def test_examples_are_acknowledged_only_once_a_snapshot_holds_them(start, broker: Broker, walk) -> None:
    one = start()
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    assert broker.acknowledged == [] and one.student.learned == 8
    await one.save()
    assert broker.acknowledged == list(range(8))
    latest = one._snapshots.latest()
    assert latest.state["offsets"] == {"0": 7} and latest.state["student"]["learned"] == 8
    await one.save()
    assert len(one._snapshots.paths()) == 1, "nothing new: nothing is written"


async def test_after_a_crash_what_comes_again_is_learnt_once(start, broker: Broker, walk) -> None:
    first, straight = start(), start()
    await first.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await first.save()
    await first.handle(broker.events(walk(8, 8), 8), broker.seek, broker.highwater)  # lost: no snapshot holds it
    second = start()
    assert second.student.learned == 8 and second.positions.offsets == {0: 7}
    await second.handle(broker.events(walk(16)), broker.seek, broker.highwater)  # from the beginning, as a broker may
    await straight.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await straight.handle(broker.events(walk(8, 8), 8), broker.seek, broker.highwater)
    assert second.student.learned == straight.student.learned == 16 and second.student.memory.duplicates == 0
    for name, learner in second.student.memory.counting.items():
        own, other = learner.state_dict(), straight.student.memory.counting[name].state_dict()
        assert state_tree.equal(own, other), name
    await second.save()
    assert broker.acknowledged[8:] == list(range(16)), "what was known already is acknowledged too"


async def test_a_gap_is_read_again_and_nothing_behind_it_is_learnt(start, broker: Broker, walk) -> None:
    one, made = start(), walk(8)
    await one.handle(broker.events(made[:3]), broker.seek, broker.highwater)
    await one.handle(broker.events(made[5:], first=5), broker.seek, broker.highwater)
    assert broker.seeks == [(0, 3)] and one.student.learned == 3 and one.positions.offsets == {0: 2}
    await one.save()
    assert broker.acknowledged == [0, 1, 2]
    await one.handle(broker.events(made[3:], first=3), broker.seek, broker.highwater)
    assert one.student.learned == 8 and one.positions.offsets == {0: 7}


async def test_examples_of_another_version_are_left_out_and_said(start, broker: Broker, example, caplog) -> None:
    one = start()
    odd = [example(0, features=[1.0]), example(1, slate=["a", "b"], outcomes=[1]), example(2)]
    await one.handle(broker.events(odd), broker.seek, broker.highwater)
    assert one.student.learned == 1 and one.positions.offsets == {0: 2}
    assert "has 1 features" in caplog.text and "slate without an outcome" in caplog.text


async def test_what_cannot_be_read_is_passed_by_and_said(start, broker: Broker, walk, caplog) -> None:
    one, made = start(), walk(3)
    events = [broker.event(0, made[0]), broker.event(1, b"{broken"), broker.event(2, made[1])]
    await one.handle(events, broker.seek, broker.highwater)
    assert one.student.learned == 2 and one.positions.offsets == {0: 2}
    assert "an example at offset 1 cannot be read" in caplog.text
    await one.save()
    assert broker.acknowledged == [0, 1, 2], "or it would be read again for ever"


async def test_partitions_are_counted_apart(start, broker: Broker, example) -> None:
    one = start()
    mixed = [broker.event(4, example(4, partition=2), 2), broker.event(0, example(0), 0)]
    mixed.append(broker.event(5, example(5, partition=2), 2))
    await one.handle(mixed, broker.seek, broker.highwater)
    assert one.positions.offsets == {2: 5, 0: 0} and one.student.learned == 3 and broker.seeks == []


async def test_lag_is_what_lies_behind_the_last_one_applied(start, broker: Broker, walk) -> None:
    one = start()
    broker.ends = {0: 20}
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    lag = metrics.CONSUMER_LAG.labels(topic=topics.EXAMPLES.name, partition="0")
    assert lag._value.get() == 12


async def test_behind_its_topic_a_trainer_takes_larger_batches_and_sheds(
    small_settings: Settings, broker: Broker, walk
) -> None:
    learning = small_settings.learning.model_copy(update={"shed_behind_examples": 100, "replay_share": 1.0})
    size = MicroBatchSize(least=8, most=32)
    one = Trainer(small_settings.model_copy(update={"learning": learning}), size)
    before = float(shown().get('headwater_learning_shed_total{learner="student",what="replay"}', 0))
    broker.ends = {0: 500}
    for first in (0, 8, 16):
        await one.handle(broker.events(walk(8, first), first), broker.seek, broker.highwater)
    assert size.now == 32 and one.student.learned == 24 and one.student.network.learner.steps == 3
    assert float(shown()['headwater_learning_shed_total{learner="student",what="replay"}']) == before + 2
    broker.ends = {0: 32}
    await one.handle(broker.events(walk(8, 24), 24), broker.seek, broker.highwater)
    assert size.now == 8 and one.student.network.learner.steps == 5, "caught up: it replays again"


def shown() -> dict[str, str]:
    """Lines of /metrics by series."""
    lines = generate_latest().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


async def test_a_step_shows_its_stability(small_settings: Settings, broker: Broker, walk) -> None:
    learning = small_settings.learning.model_copy(update={"clippy": True})
    one = Trainer(small_settings.model_copy(update={"learning": learning}))
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    values = shown()
    for name in ("learning_loss", "gradient_norm", "update_ratio"):
        assert float(values[f'headwater_{name}{{learner="student"}}']) > 0, name
    assert float(values['headwater_skipped_steps{learner="student"}']) == 0
    assert float(values['headwater_loss_spikes{learner="student"}']) == 0
    factors = one.student.network.learner.clipping_factors()
    assert {"items.weight", "core.wide.weight"} <= set(factors)
    for parameter, factor in factors.items():
        series = f'headwater_clipping_factor_ratio{{learner="student",parameter="{parameter}"}}'
        assert float(values[series]) == pytest.approx(factor)


async def test_rows_go_out_with_their_keys(start, broker: Broker, walk) -> None:
    one = start()
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await one.publish_rows()
    rows = [deltas.decode(value) for _, value, _ in broker.sent]
    assert {topic for topic, _, _ in broker.sent} == {topics.WEIGHTS.name}
    assert [row.key for row in rows] == [key for _, _, key in broker.sent]
    assert {row.step for row in rows} == {8} and {"item_vectors", "popularity"} <= {row.table for row in rows}
    broker.sent.clear()
    await one.publish_rows()
    assert broker.sent == []


async def test_rows_are_put_aside_behind_a_micro_batch_and_go_out_in_order(
    small_settings: Settings, broker: Broker, walk
) -> None:
    learning = small_settings.learning.model_copy(update={"publish_rows_seconds": 10.0})
    one, clock = Trainer(small_settings.model_copy(update={"learning": learning})), SimpleNamespace(seconds=0.0)
    one._rows = RowPublisher(one.student, broker, 600.0, 10.0, clock=lambda: clock.seconds)  # type: ignore[arg-type]
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    assert not one._rows.waits, "not so soon after the last time"
    for first, clock.seconds in ((8, 10.0), (16, 21.0)):
        await one.handle(broker.events(walk(8, first), first), broker.seek, broker.highwater)
        assert one._rows.waits and broker.sent == []
    assert not one._rows.is_due, "what is put aside goes out first; rows that change meanwhile stay together"
    await one._publish_rows_soon()
    assert {deltas.decode(value).step for _, value, _ in broker.sent} == {16} and not one._rows.waits
    await one._publish_rows_soon()
    assert {deltas.decode(value).step for _, value, _ in broker.sent} == {16, 24}, "what no micro-batch has put aside"


async def test_two_who_send_keep_the_order(small_settings: Settings, broker: Broker, walk) -> None:
    one = Trainer(small_settings)
    steps: list[int] = []

    async def slowly(topic: str, value: bytes, key: bytes) -> None:
        await asyncio.sleep(0)
        steps.append(deltas.decode(value).step)

    broker.send = slowly  # type: ignore[method-assign]
    one._rows.producer = broker  # type: ignore[assignment]
    for first in (0, 8, 16):
        one.student.learn(walk(8, first))
        one._rows.collect()
    await asyncio.gather(*(one._rows.send_collected() for _ in range(3)))
    assert steps == sorted(steps) and set(steps) == {8, 16, 24}


async def test_nothing_is_put_aside_while_publishing_is_held(start, broker: Broker, walk) -> None:
    one = start()
    one._on_hold = lambda: True  # type: ignore[method-assign]
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await one._publish_rows_soon()
    assert broker.sent == []
    del one._on_hold
    await one._publish_rows_soon()
    assert {deltas.decode(value).step for _, value, _ in broker.sent} == {8}


async def test_items_are_described_once_until_they_change(start, broker: Broker, example, monkeypatch) -> None:
    one, described = start(), []
    monkeypatch.setattr(one.student, "describe", described.append)
    film = ItemInfo(item_id="a", title="Alien")
    one._items.items["a"] = film
    for offset in range(2):
        await one.handle(broker.events([example(offset)], offset), broker.seek, broker.highwater)
        await one.publish_rows()
    assert described == [film]
    one._items.items["a"] = changed = ItemInfo(item_id="a", title="Aliens")
    await one.publish_rows()
    assert described == [film, changed]


async def test_a_version_is_copied_so_that_learning_goes_on(start, broker: Broker, walk) -> None:
    one = start()
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await one.publish_rows()
    job = one._copy()
    before = job["tables"]["item_vectors"].copy()
    values = {name: value.clone() for name, value in job["graphs"]["rank"].module.state_dict().items()}
    await one.handle(broker.events(walk(16, 8), 8), broker.seek, broker.highwater)
    assert job["step"] == 8 and job["offsets"] == {"0": 7}
    assert (job["tables"]["item_vectors"] == before).all()
    after = job["graphs"]["rank"].module.state_dict()
    assert all((after[name] == value).all() for name, value in values.items())


async def test_a_rhythm_outlives_its_errors(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()
    calls = 0

    async def fails_once() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("the disk is full")
        done.set()

    task = asyncio.create_task(trainer.every(0.001, fails_once, asyncio.Event()))
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    assert "fails_once failed" in caplog.text and "the disk is full" in caplog.text


def test_the_app_starts_on_a_machine_without_a_state_folder(small_settings: Settings, tmp_path) -> None:
    stores = small_settings.stores.model_copy(update={"state_dir": tmp_path / "not" / "there yet"})
    app = create_app(small_settings.model_copy(update={"stores": stores}))
    app.conf.datadir.mkdir(exist_ok=True)  # as Faust does
    assert app.settings_of_headwater.stores.snapshots_dir.parent == stores.state_dir


async def test_an_app_that_could_not_start_stops_without_another_error(small_settings: Settings) -> None:
    await create_app(small_settings).on_stop()


def named(settings: Settings, name: str, family: str) -> Settings:
    learning = settings.learning.model_copy(update={"name": name, "family": family})
    return settings.model_copy(update={"learning": learning})


async def test_each_name_has_a_group_and_folders_of_its_own(small_settings: Settings) -> None:
    plain = create_app(small_settings)
    caser = create_app(named(small_settings, "caser", "caser"))
    assert (plain.conf.id, caser.conf.id) == ("headwater-trainer", "headwater-trainer-caser")
    assert plain.conf.datadir != caser.conf.datadir
    folders = [Trainer(one)._snapshots.directory.name for one in (small_settings, named(small_settings, "b", "caser"))]
    assert folders == ["student", "b"]


async def test_a_name_keeps_its_family(small_settings: Settings, broker: Broker, walk) -> None:
    one = Trainer(named(small_settings, "b", "caser"))
    await one.handle(broker.events(walk(8)), broker.seek, broker.highwater)
    await one.save()
    with pytest.raises(HeadwaterError, match="of the family 'caser', not 'session'; give --name another"):
        Trainer(named(small_settings, "b", "session"))._resume()
    again = Trainer(named(small_settings, "b", "caser"))
    again._resume()
    assert again.student.learned == 8


def test_an_unknown_family_does_not_start(small_settings: Settings) -> None:
    with pytest.raises(HeadwaterError, match="session, caser"):
        create_app(named(small_settings, "b", "transformer"))


class TestSoftLabels:
    """What the trainer does with labels; how they are learnt is tested with the student."""

    @pytest.fixture
    def taught(self, start, broker: Broker, walk, soft_label) -> Callable[..., Any]:
        """A trainer that has learnt eight examples, of which half have their label."""

        async def make() -> Trainer:
            one = start()
            first = walk(8)
            one._labels._inbox.extend(soft_label(example, {"i1": 1.0, "i2": 0.5}) for example in first[:4])
            one._labels._read = {0: 4}
            await one.handle(broker.events(first), broker.seek, broker.highwater)
            return one

        return make

    async def test_a_snapshot_holds_labels_and_how_far_they_were_read(self, taught, start) -> None:
        one = await taught()
        one._labels._read = {0: 9}  # read, not taken: the student does not hold it
        await one.save()
        again = start()
        assert again._labels.positions == {0: 4}
        assert len(again.student.soft.held) == 4 and len(again.student.soft.waiting) == 1

    async def test_labels_that_come_between_examples_are_learnt_saved_and_published(
        self, taught, start, broker: Broker, walk, soft_label
    ) -> None:
        one = await taught()
        await one.handle(broker.events(walk(8, 8), 8), broker.seek, broker.highwater)
        await one.save()
        stood, saved = one.student.network.learner.steps, len(one._snapshots.paths())
        one._labels._inbox.extend(soft_label(example, {"i1": 1.0}) for example in walk(8, 8))
        one._labels._read = {0: 12}
        await one.distill()
        assert one.student.network.learner.steps == stood + 1
        await one.save()
        await one.save()
        assert len(one._snapshots.paths()) == saved + 1, "once, for there is something new once"
        assert start()._labels.positions == {0: 12}

    async def test_figures_of_joins_are_shown(self, taught) -> None:
        one = await taught()
        one.student.soft.figures.add_joined([1_500])
        await one.distill()
        page = generate_latest().decode()
        assert 'headwater_soft_label_joins_total{learner="student",result="joined"}' in page
        assert 'headwater_soft_label_coverage_ratio{learner="student"}' in page
