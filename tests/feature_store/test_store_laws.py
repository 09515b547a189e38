"""What every store of records promises: SQLite, Redis and the in-memory twin alike."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from feature_store.item_state import ItemState
from feature_store.memory import MemoryStore
from feature_store.online import OnlineStore
from feature_store.store import RecordStore
from feature_store.user_state import UserState

MakeUser = Callable[..., UserState]
MakeItem = Callable[..., ItemState]
Reopen = Callable[[], RecordStore]


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.integration)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the same store once more, as another process would (the in-memory one: hands out itself)."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    url = request.getfixturevalue("redis_url") if request.param == "redis" else "redis://unused"
    project = f"test_{uuid.uuid4().hex}"
    return lambda: OnlineStore.open(tmp_path / "feast", request.param, url, project=project)


@pytest.fixture
def store(reopen: Reopen) -> Iterator[RecordStore]:
    opened = reopen()
    yield opened
    opened.close()


def test_users_come_back_whole(store: RecordStore, reopen: Reopen, make_user: MakeUser) -> None:
    states = [make_user(f"u{number}", number) for number in range(5)]
    store.push(states)
    other = reopen()
    assert [store.read(state.user_id) for state in states] == states
    assert [other.read(state.user_id) for state in states] == states


def test_items_come_back_whole(store: RecordStore, make_item: MakeItem) -> None:
    states = [make_item(f"i{number}", number) for number in range(5)]
    store.push_items(states)
    assert [store.read_item(state.item_id) for state in states] == states


def test_unknown_ids_read_as_none(store: RecordStore, make_user: MakeUser, make_item: MakeItem) -> None:
    assert store.read("nobody") is None and store.read_item("nothing") is None
    store.push([make_user("u")])
    store.push_items([make_item("i")])
    assert store.read("nobody") is None and store.read_item("nothing") is None


def test_an_empty_push_is_nothing(store: RecordStore) -> None:
    store.push([])
    store.push_items([])
    store.flush()


def test_a_newer_record_replaces_the_older(store: RecordStore, make_user: MakeUser, make_item: MakeItem) -> None:
    store.push([make_user("u", 3)])
    store.push([make_user("u", 9)])
    store.push_items([make_item("i", 3)])
    store.push_items([make_item("i", 9)])
    assert store.read("u") == make_user("u", 9)
    assert store.read_item("i") == make_item("i", 9)


def test_a_late_event_that_leaves_the_watermark_alone_is_written(store: RecordStore, make_user: MakeUser) -> None:
    state = make_user("u", 3)
    store.push([state])
    state.late_events += 1
    store.push([state])
    found = store.read("u")
    assert found is not None and found.late_events == 1


def test_of_one_user_twice_in_a_batch_the_last_counts(store: RecordStore, make_user: MakeUser) -> None:
    store.push([make_user("u", 9), make_user("v", 1), make_user("u", 3)])
    assert store.read("u") == make_user("u", 3)


def test_a_pushed_record_is_not_shared(store: RecordStore, make_user: MakeUser) -> None:
    state = make_user("u", 3)
    store.push([state])
    state.item_ids.append("later")
    found = store.read("u")
    assert found == make_user("u", 3)


@pytest.mark.parametrize(
    "odd", ["", " ", "a b", "ключ", "日本", "👩‍🚀", "a'b\"c;--", "x\x00y", "%s{}\\", "\n", "u" * 5_000, "user_id", "1"]
)
def test_odd_ids_stay_apart(store: RecordStore, make_user: MakeUser, make_item: MakeItem, odd: str) -> None:
    store.push([make_user(odd, 2), make_user(odd + "x", 1)])
    store.push_items([make_item(odd, 2), make_item(odd + "x", 1)])
    assert store.read(odd) == make_user(odd, 2)
    assert store.read_item(odd) == make_item(odd, 2)
    assert store.read(odd + " ") is None


def test_a_user_and_an_item_of_one_name_do_not_meet(
    store: RecordStore, make_user: MakeUser, make_item: MakeItem
) -> None:
    store.push([make_user("same")])
    assert store.read_item("same") is None
    store.push_items([make_item("same")])
    assert store.read("same") == make_user("same")


def test_ten_thousand_users(store: RecordStore, make_user: MakeUser) -> None:
    everybody = [make_user(f"u{number}", number % 4) for number in range(10_000)]
    for start in range(0, len(everybody), 500):
        store.push(everybody[start : start + 500])
    for number in (0, 1, 499, 500, 7_777, 9_999):
        assert store.read(f"u{number}") == everybody[number]
    assert store.read("u10000") is None


_WRITER = """
import sys
from pathlib import Path
from feature_store.online import OnlineStore
from feature_store.user_state import UserState

folder, kind, url, project, name, rounds = sys.argv[1:]
store = OnlineStore.open(Path(folder), kind, url, project=project)
for number in range(1, int(rounds) + 1):
    ids = [f"{name}-{number}-{index}" for index in range(number % 40)]
    store.push([UserState(user_id=user, item_ids=ids, total_events=number) for user in ("shared", name)])
store.close()
"""


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_writers_and_a_reader_in_processes_of_their_own(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Two writers open the new repository at once; the reader never sees half a record, or an older one again."""
    url = request.getfixturevalue("redis_url") if kind == "redis" else "redis://unused"
    project = f"test_{uuid.uuid4().hex}"
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "feast"), kind, url, project]
    writers = [subprocess.Popen([*command, name, "150"]) for name in ("left", "right")]
    store = OnlineStore.open(tmp_path / "feast", kind, url, project=project)  # type: ignore[arg-type]
    last = {"left": 0, "right": 0}
    try:
        while any(writer.poll() is None for writer in writers):
            for name in last:
                state = store.read(name)
                if state is not None:
                    assert state.total_events >= last[name]
                    last[name] = state.total_events
            time.sleep(0.002)  # leaves the processors to the writers
            shared = store.read("shared")
            if shared is not None:
                assert len(shared.item_ids) == shared.total_events % 40
                assert len({item.rsplit("-", 1)[0] for item in shared.item_ids}) <= 1
    finally:
        codes = [writer.wait(timeout=60) for writer in writers]
    assert codes == [0, 0]
    found = [store.read(name) for name in last]
    assert [state.total_events for state in found if state is not None] == [150, 150]
    store.close()
