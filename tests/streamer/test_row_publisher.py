"""A trainer's rows and a server's tables, with the topic between them as a list: whole, late, compacted, damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exporters import deltas
from exporters.announcements import Announcement
from exporters.deltas import CATALOG, DIGEST, PURGE, Row
from exporters.item_tables import FEATURES, VECTORS, ItemTables
from streamer.row_publisher import RowPublisher
from streamer.server_state import ServerState
from streamer.settings import Settings
from streamer.student import Student


class World:
    """One trainer's student, what it has written, and servers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic: list[tuple[bytes, bytes]] = []
        self.seconds = 0.0
        self.start(1)

    def start(self, epoch: int, state: dict[str, Any] | None = None) -> None:
        self.student = Student(self.settings)
        if state is not None:
            self.student.load_state_dict(state)
        self.student.outgoing.begin(epoch, self.student.learned)
        self.rows = RowPublisher(self.student, None, 7.0, clock=lambda: self.seconds)  # type: ignore[arg-type]

    def publish(self) -> list[Row]:
        rows = self.rows.take()
        self.topic += [(row.key, deltas.encode(row)) for row in rows]
        return rows

    def learn(self, examples: list[Any], portion: int = 8) -> None:
        for first in range(0, len(examples), portion):
            self.student.learn(examples[first : first + portion])
            self.publish()

    def settle(self) -> None:
        """Publish until nothing waits."""
        self.student.release_moved()
        while self.publish():
            pass

    def compacted(self) -> list[tuple[bytes, bytes]]:
        last = {key: place for place, (key, _) in enumerate(self.topic)}
        return [record for place, record in enumerate(self.topic) if last[record[0]] == place]

    def server(self, records: list[tuple[bytes, bytes]], live: bool = False) -> ServerState:
        state = ServerState(self.settings)
        state.load()
        if live:
            state.went_live()
        feed(state, records)
        if not live:
            state.went_live()
        return state


def feed(state: ServerState, records: list[tuple[bytes, bytes]]) -> None:
    state._apply_rows([SimpleNamespace(key=key, value=value, offset=n) for n, (key, value) in enumerate(records)])


def content(tables: ItemTables) -> dict[str, bytes]:
    """Everything that a ranking can see, byte for byte."""
    found = {"vectors": tables.vectors.tobytes(), "features": tables.features.tobytes()}
    for name, table in tables.neighbours.items():
        found |= {f"{name}.items": table.items.tobytes(), f"{name}.weights": table.weights.tobytes()}
    found["ids"] = repr(tables.item_ids(np.arange(len(tables)))).encode()
    return found


@pytest.fixture
def world(small_settings: Settings) -> World:
    return World(small_settings)


@pytest.fixture
def crowd(example) -> Callable[[int, int], list[Any]]:
    """More items than the catalogue has rows, so that rows change their items."""

    def make(number: int, first: int = 0) -> list[Any]:
        items = [f"i{(7 * n) % 90}" for n in range(first + number)]
        return [
            example(n, f"u{n % 4}", items[n], history=items[max(0, n - 12) : n : 4][-5:])
            for n in range(first, first + number)
        ]

    return make


def test_early_and_late_servers_hold_the_same_bytes(world: World, crowd) -> None:
    early = world.server([], live=True)
    for first in range(0, 160, 40):
        before = len(world.topic)
        world.learn(crowd(40, first))
        feed(early, world.topic[before:])
    before = len(world.topic)
    world.settle()
    feed(early, world.topic[before:])
    compacted = world.compacted()
    assert len(compacted) < len(world.topic)
    whole, late = world.server(world.topic), world.server(compacted)
    assert content(early.tables) == content(whole.tables) == content(late.tables)
    assert len(early.tables.live_rows()) == len(world.student.memory.catalog.active_rows()) > 10


def test_every_digest_agrees_at_its_place_while_learning_goes_on(world: World, crowd) -> None:
    server, asked = world.server([], live=True), []
    server.send = asked.append
    agreed: dict[str, int] = {}
    check = server.first.parity.check
    server.first.parity.check = lambda row: agreed.__setitem__(row.item_id, check(row) + agreed.get(row.item_id, 0))  # type: ignore
    for first in range(0, 200, 10):
        before = len(world.topic)
        world.seconds += 2.0
        world.learn(crowd(10, first), portion=5)
        if first % 50 == 0:
            world.student.release_moved()
        feed(server, world.topic[before:])
    assert not asked, [request.reason for request in asked]
    assert set(agreed) == set(server.tables.table_names) and all(agreed.values())


def test_a_corrupted_record_is_refused_counted_and_healed_by_the_next_parity(world: World, walk) -> None:
    server, asked = world.server([], live=True), []
    server.send = asked.append
    world.learn(walk(16))
    world.settle()
    broken = max(place for place, (key, _) in enumerate(world.topic) if key.startswith(b"item_knn:"))
    key, value = world.topic[broken]
    world.topic[broken] = (key, value[:-3] + bytes([value[-3] ^ 1]) + value[-2:])
    feed(server, world.topic)
    before = len(world.topic)
    world.rows.asked(Announcement(name="student", kind="repair"))
    world.publish()
    feed(server, world.topic[before:])
    assert [(one.kind, one.table) for one in asked[-1:]] == [("repair", "item_knn")]
    assert len(asked[-1].buckets) == 1 and "1 of 64 buckets of item_knn" in asked[-1].reason
    assert server.first.parity.differing == {"item_knn": asked[-1].buckets}
    before = len(world.topic)
    world.rows.asked(asked[-1])
    world.settle()
    mended = [deltas.decode(value).table for _, value in world.topic[before:]]
    assert set(mended) == {"item_knn", DIGEST}
    feed(server, world.topic[before:])
    assert not server.first.parity.differing
    assert content(server.tables) == content(world.server(world.compacted()).tables)


def test_a_byte_that_changes_in_memory_is_found_and_mended(world: World, walk) -> None:
    world.learn(walk(16))
    world.settle()
    server, asked = world.server(world.topic), []
    server.send = asked.append
    row = server.tables.live_rows()[3]
    server.tables.vectors[row, 0] += 1e-6
    for _ in range(2):
        before = len(world.topic)
        for request in asked or [Announcement(name="student", kind="repair")]:
            world.rows.asked(request)
        world.settle()
        feed(server, world.topic[before:])
    assert [(one.table, one.buckets) for one in asked] == [(VECTORS, [row % 64])]
    assert not server.first.parity.differing


def test_a_start_from_an_older_snapshot_is_newer_all_the_same(world: World, walk, example) -> None:
    import copy

    early = world.server([], live=True)
    world.learn(walk(16))
    state = copy.deepcopy(world.student.state_dict())
    world.learn([example(100 + n, f"u{n}", f"lost{n}") for n in range(4)])
    world.learn(walk(40, 16))
    world.settle()
    feed(early, world.topic)
    assert early.tables.row("lost1") > 1
    before = len(world.topic)
    world.start(2, state)  # at 16 examples, while the servers hold 60
    world.settle()
    assert [row.table for row in map(deltas.decode, (v for _, v in world.topic[before:]))].count(PURGE) == 1
    feed(early, world.topic[before:])
    late = world.server(world.compacted())
    assert early.tables.row("lost1") == 1, "the lost branch is no part of the learner"
    assert content(early.tables) == content(late.tables)
    vectors = world.student.network.ranker.items.weight.detach().numpy()
    for row in early.tables.live_rows():
        assert early.tables.vectors[row].tobytes() == vectors[row].tobytes()


def test_rows_of_a_branch_that_was_left_change_nothing_any_more(world: World, walk) -> None:
    world.learn(walk(8))
    left = list(world.topic)
    world.start(2)
    world.learn(walk(4))
    world.settle()
    server = world.server(world.topic)
    held = content(server.tables)
    feed(server, left)
    assert content(server.tables) == held


def test_a_truncated_topic_is_not_served_until_the_trainer_confirms_every_table(world: World, walk) -> None:
    world.learn(walk(32))
    world.settle()
    server, asked = world.server(world.topic[len(world.topic) // 2 :]), []
    server.send = asked.append
    server.begins_at(len(world.topic) // 2, len(world.topic))
    assert "begins at offset" in server.doubts()[0] and CATALOG in server.doubts()[0]
    for _ in range(3):  # everything is checked, what differs is published again, and is checked again
        requests, before = asked[:], len(world.topic)
        asked.clear()
        for request in requests:
            world.rows.asked(request)
        world.settle()
        server.first.parity._asked_at.clear()
        feed(server, world.topic[before:])
    assert server.doubts() == []
    assert content(server.tables) == content(world.server(world.topic).tables)


def test_vectors_of_a_refused_version_come_back_and_wait(world: World, walk) -> None:
    student = world.student
    world.learn(walk(16))
    world.settle()
    good = student.tables()[VECTORS]
    student.guard.passed(good, student.item_ids(), student.guard.mark())
    server = world.server(world.topic)
    before = len(world.topic)
    student.network.ranker.items.weight.data.add_(50.0)  # the learner diverges, finite and within the gate's scale
    world.learn(walk(8, 16))
    feed(server, world.topic[before:])
    moved = [row for row in server.tables.live_rows() if server.tables.vectors[row].max() > 10]
    assert moved, "vectors go out ahead of the gate"
    before = len(world.topic)
    student.refuse_vectors()
    world.learn(walk(8, 24))
    feed(server, world.topic[before:])
    known = [row for row in server.tables.live_rows() if row < len(good)]
    assert np.array_equal(server.tables.vectors[known], good[known])
    assert FEATURES in {deltas.decode(value).table for _, value in world.topic[before:]}, "what is counted goes on"
    before = len(world.topic)
    student.guard.passed(student.tables()[VECTORS], student.item_ids(), student.guard.mark())
    world.settle()
    feed(server, world.topic[before:])
    assert all(server.tables.vectors[row].max() > 10 for row in moved)


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "not_finite"), (1e6, "too_large")])
def test_a_broken_vector_never_goes_out(world: World, walk, value: float, reason: str) -> None:
    world.learn(walk(16))
    world.settle()
    row = int(world.student.memory.catalog.active_rows()[0])
    world.student.network.ranker.items.weight.data[row] = value
    world.student.pending.add(VECTORS, [row], 1)
    assert all(one.row != row or one.table != VECTORS for one in world.publish())
    assert world.student.outgoing.refused == {reason: 1}


def test_a_ranking_sees_a_batch_whole_or_not_at_all() -> None:
    tables = ItemTables(capacity=64, dimension=8, feature_count=1, sources=("item_knn",), width=4)
    numbers = np.arange(2, 50)
    torn: list[Any] = []
    stop = threading.Event()

    def batch(value: int) -> list[Row]:
        made = []
        for row in numbers.tolist():
            own: dict[str, Any] = {"item_id": f"i{row}", "row": row, "step": value}
            made.append(Row(table=VECTORS, values=np.full(8, value, "<f4").tobytes(), **own))
            made.append(Row(table=FEATURES, values=np.full(1, value, "<f4").tobytes(), **own))
            lists = {"neighbours": np.full(4, 2, "<i4").tobytes(), "weights": np.full(4, value, "<f4").tobytes()}
            made.append(Row(table="item_knn", **lists, **own))
        return made

    def read() -> set[float]:
        seen = set(tables.gather_vectors(numbers).ravel().tolist())
        seen |= set(tables.gather_features(numbers).ravel().tolist())
        return seen | set(tables.neighbours["item_knn"].lookup(numbers)[1].ravel().tolist())

    def rank() -> None:
        while not stop.is_set():
            seen = tables.consistent(read)
            if len(seen) != 1:
                torn.append(seen)

    tables.apply(batch(1))
    readers = [threading.Thread(target=rank) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(2, 150):
        tables.apply(batch(value))
    stop.set()
    for reader in readers:
        reader.join()
    assert not torn
