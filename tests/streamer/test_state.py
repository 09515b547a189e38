from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer import state as module
from streamer.effects import Applied, Effects, LogEntry, Message
from streamer.errors import SnapshotError
from streamer.state import PartitionState, StaleStateError

Open = Callable[[], PartitionState]


def effects_of(state: PartitionState, offset: int, *user_ids: str, event_ids: dict[str, int] | None = None) -> Effects:
    after = Applied(offset, 1, state.applied.commit + 1, 1_000 + offset)
    effects = Effects(before=state.applied, after=after, records=state.load(user_ids), event_ids=event_ids or {})
    for record in effects.records.values():
        record.user.total_events += 1
    effects.messages = [Message("t", user_id.encode(), b"v%d" % offset) for user_id in user_ids]
    effects.log = [LogEntry(offset, 1, 2, b"e")]
    effects.counters = Counter(consumed=1)
    return effects


def test_what_is_committed_is_there_after_reopening(open_state: Open) -> None:
    state = open_state()
    state.commit(effects_of(state, 4, "a", "b"))
    state.commit(effects_of(state, 5, "a"))
    again = open_state()
    assert again.applied == Applied(5, 1, 2, 1_005)
    assert [record.user.total_events for record in again.load(["a", "b", "new"]).values()] == [2, 1, 0]
    assert again.counters() == {"consumed": 2}
    messages, states = again.undelivered()
    assert [message.value for message in messages] == [b"v4", b"v4", b"v5"]
    assert sorted(user.user_id for user in states) == ["a", "b"]


def test_a_second_process_cannot_apply_twice(open_state: Open) -> None:
    slow, fast = open_state(), open_state()
    old = effects_of(slow, 7, "a")
    fast.commit(effects_of(fast, 7, "a"))
    with pytest.raises(StaleStateError, match="another process"):
        slow.commit(old)
    assert slow.applied == fast.applied
    assert slow.load(["a"])["a"].user.total_events == 1
    assert slow.counters() == {"consumed": 1}


def test_a_failed_commit_leaves_nothing_behind(open_state: Open) -> None:
    state = open_state()
    state.commit(effects_of(state, 1, "a", event_ids={"x": 1}))
    with pytest.raises(sqlite3.IntegrityError):
        state.commit(effects_of(state, 2, "a", event_ids={"x": 1}))
    assert state.applied.offset == 1
    assert state.load(["a"])["a"].user.total_events == 1  # not the one changed in memory


def test_the_outbox_forgets_only_what_was_delivered(open_state: Open) -> None:
    state = open_state()
    state.commit(effects_of(state, 1, "a"))
    state.commit(effects_of(state, 2, "b"))
    state.mark_delivered(1)
    state.commit(effects_of(state, 3, "a"))
    messages, states = open_state().undelivered()
    assert [message.value for message in messages] == [b"v2", b"v3"]
    assert sorted(user.user_id for user in states) == ["a", "b"]
    state.mark_delivered(3)
    state.clear_delivered()
    assert open_state().undelivered() == ([], [])


def test_event_ids_are_bounded_by_number_and_age(open_state: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENT_IDS_LIMIT", 3)
    state = open_state()
    state.commit(effects_of(state, 0, event_ids={f"e{n}": 1_000 for n in range(5)}))
    assert state.known_event_ids(f"e{n}" for n in range(5)) == {"e2", "e3", "e4"}
    monkeypatch.setattr(module, "EVENT_IDS_AGE_MS", 10)
    state.commit(effects_of(state, 50, event_ids={"late": 1_050}))
    assert state.known_event_ids(["e3", "e4", "late"]) == {"late"}


def test_the_cache_is_bounded(open_state: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state()
    state._cached_users = 2
    for offset in range(5):
        state.commit(effects_of(state, offset, f"u{offset}", "hot"))
    assert len(state._cache) == 2 and "hot" in state._cache
    assert state.load(["hot"])["hot"].user.total_events == 5
    assert state.load(["u0"])["u0"].user.total_events == 1


def test_many_users_and_ids_in_one_query(open_state: Open) -> None:
    state = open_state()
    names = [f"u{n}" for n in range(1_700)]
    state.commit(effects_of(state, 0, *names, event_ids={name: 1 for name in names}))
    again = open_state()
    assert all(record.user.total_events == 1 for record in again.load(names).values())
    assert again.known_event_ids(names) == set(names)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "partition-00000.sqlite"
    path.write_bytes(b"this is no database, and long enough to be taken for one" * 20)
    with pytest.raises(SnapshotError, match="partition-00000.sqlite is no readable state file"):
        PartitionState(path)


def test_another_format_is_refused(open_state: Open) -> None:
    state = open_state()
    state._connection.execute("UPDATE applied SET format = 99")
    with pytest.raises(SnapshotError, match="format 99"):
        open_state()
