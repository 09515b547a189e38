from __future__ import annotations

from streamer.pending_rows import PendingRows


def test_a_row_keeps_its_earliest_time_until_it_is_taken() -> None:
    pending = PendingRows()
    pending.add("knn", [3], 100)
    pending.add("knn", [3, 4], 50)
    assert pending.take("knn", 10) == {3: 100, 4: 50}, "rows are noted in the order of the stream"
    pending.add("knn", [3], 200)
    assert pending.take("knn", 10) == {3: 200}


def test_a_change_of_no_event_takes_the_time_of_the_first_event_after_it() -> None:
    pending = PendingRows()
    for oldest_ms in (0, 70, 60):
        pending.add("vectors", [3], oldest_ms)
    pending.add("vectors", [4], 0)
    assert pending.take("vectors", 10) == {3: 70, 4: 0}


def test_longest_waiting_first_and_never_more_than_asked() -> None:
    pending = PendingRows()
    pending.add("knn", [9, 2], 1)
    pending.add("knn", [5, 9], 2)
    assert [list(pending.take("knn", 2)), list(pending.take("knn", 2)), list(pending.take("knn", 2))] == [
        [9, 2],
        [5],
        [],
    ]


def test_tables_wait_apart() -> None:
    pending = PendingRows()
    pending.add("knn", [3], 1)
    pending.add("vectors", [3], 2)
    pending.add("empty", [], 2)
    assert pending.tables() == ["knn", "vectors"]
    pending.take("knn", 1)
    assert pending.tables() == ["vectors"] and pending.take("nothing", 1) == {}


def test_discarded_rows_wait_nowhere() -> None:
    pending = PendingRows()
    pending.add("knn", [3, 4], 1)
    pending.add("vectors", [3], 1)
    pending.discard([3, 77])
    assert pending.tables() == ["knn"] and pending.take("knn", 9) == {4: 1}
