from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from streamer import event_log
from streamer.effects import Applied, Effects, LogEntry
from streamer.event_log import EventLog
from streamer.events import Event
from streamer.state import PartitionState

Open = Callable[[], PartitionState]
DAY_MS = 86_400_000
START_MS = 19_700 * DAY_MS


@pytest.fixture
def log_of(tmp_path: Path) -> Iterator[Callable[[PartitionState], EventLog]]:
    logs: list[EventLog] = []

    def make(state: PartitionState) -> EventLog:
        logs.append(EventLog(state.path, tmp_path / "log", 3))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


def add(state: PartitionState, first: int, count: int, every_ms: int = 1_000) -> None:
    entries = []
    for offset in range(first, first + count):
        event = Event(
            event_id=f"e{offset}",
            type="impression",
            user_id="u",
            impression_id="s",
            items=["a", "b"],
            event_time_ms=START_MS + offset * every_ms,
            source_scores=[[0.5, 1.0], [2.0, 3.0]],
            extra={"shelf": {"row": offset}},
        )
        entries.append(LogEntry(offset, START_MS + offset, event.event_time_ms, event_log.encode(event)))
    after = Applied(first + count - 1, 0, state.applied.commit + 1)
    state.commit(Effects(before=state.applied, after=after, log=entries))


def rows(folder: Path) -> list[dict[str, object]]:
    return sorted(
        (row for path in folder.rglob("*.parquet") for row in pq.ParquetFile(path).read().to_pylist()),
        key=lambda row: int(str(row["offset"])),
    )


def test_rows_lie_under_their_event_date_and_are_whole(
    open_state: Open, log_of: Callable[[PartitionState], EventLog], tmp_path: Path
) -> None:
    state = open_state()
    add(state, 0, 4, every_ms=DAY_MS // 2)
    assert log_of(state).flush_all() == 4
    folder = tmp_path / "log"
    assert sorted(path.parent.name for path in folder.rglob("*.parquet")) == [
        "event_date=2023-12-09",
        "event_date=2023-12-10",
    ]
    found = rows(folder)
    assert [row["event_id"] for row in found] == ["e0", "e1", "e2", "e3"]
    assert found[1]["source_scores"] == [[0.5, 1.0], [2.0, 3.0]]
    assert found[1]["extra"] == '{"shelf":{"row":1}}'
    assert (found[1]["partition"], found[1]["broker_time_ms"]) == (3, START_MS + 1)
    assert not list(folder.rglob("*.tmp"))


def test_a_flush_takes_what_is_there_and_the_next_goes_on(
    open_state: Open, log_of: Callable[[PartitionState], EventLog], tmp_path: Path
) -> None:
    state = open_state()
    log = log_of(state)
    add(state, 0, 5)
    assert log.flush(rows=3) == 3
    add(state, 5, 2)
    assert (log.waiting(), log.flush_all(), log.waiting()) == (4, 4, 0)
    assert [row["offset"] for row in rows(tmp_path / "log")] == list(range(7))


@pytest.mark.parametrize("crash_at", ["before the files", "between two files", "before the rows are deleted"])
def test_a_flush_cut_off_anywhere_doubles_and_loses_nothing(
    crash_at: str,
    open_state: Open,
    log_of: Callable[[PartitionState], EventLog],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = open_state()
    add(state, 0, 4, every_ms=DAY_MS // 2)
    log = log_of(state)
    left = {"before the files": 0, "between two files": 1, "before the rows are deleted": 2}[crash_at]
    real = EventLog._write

    def write(self: EventLog, date: str, entries: list[LogEntry], bounds: tuple[int, int]) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        real(self, date, entries, bounds)
        if left == 0 and crash_at == "before the rows are deleted":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "_write", write)
        with pytest.raises(KeyboardInterrupt):
            log.flush()
    add(state, 4, 3)  # more arrives before the flush is done again
    assert log_of(state).flush_all() == 7
    assert [row["offset"] for row in rows(tmp_path / "log")] == list(range(7))
