from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.deltas import Row
from exporters.errors import TableError
from exporters.item_tables import ItemTables
from exporters.row_catalog import RowCatalog
from online_models.sources import CandidateSources


def tables(capacity: int = 8, **more: object) -> ItemTables:
    sources = ("item_knn", "popularity")
    return ItemTables(capacity=capacity, dimension=2, feature_count=1, sources=sources, width=3, **more)


def vector(item_id: str, row: int, value: float, step: int = 1, **more: object) -> Row:
    return Row(
        table="item_vectors", item_id=item_id, row=row, step=step, values=np.full(2, value, "<f4").tobytes(), **more
    )


def neighbours(item_id: str, row: int, items: list[int], step: int = 1, table: str = "item_knn") -> Row:
    weights = np.linspace(1, 0.5, len(items), dtype="<f4").tobytes()
    return Row(
        table=table, item_id=item_id, row=row, step=step, neighbours=np.array(items, "<i4").tobytes(), weights=weights
    )


def catalog(item_id: str, row: int, step: int) -> Row:
    return Row(table="catalog", item_id=item_id, row=row, step=step)


def test_rows_arrive_in_their_tables_and_teach_the_mapping():
    held = tables()
    feature = Row(table="item_features", item_id="b", row=3, step=1, values=np.array([7], "<f4").tobytes())
    assert (
        held.apply(
            [vector("a", 2, 5), feature, neighbours("a", 2, [3, 4]), neighbours("*", 0, [3, 2], table="popularity")]
        )
        == 4
    )
    assert held.rows(["a", "b", "c"]).tolist() == [2, 3, 1] and held.item_ids(np.array([2, 3, 4])) == ["a", "b", None]
    assert held.vectors[2].tolist() == [5, 5] and held.features[3].tolist() == [7]
    rows, scores = CandidateSources(held.neighbours).gather(np.array([2]), limit=9)
    assert rows.tolist() == [3, 4, 2] and set(scores[0].tolist()) == {1}
    assert held.row("*") == 1


def test_an_older_row_changes_nothing_and_a_repeated_one_does_no_harm():
    held = tables()
    assert held.apply([vector("a", 2, 1, step=5)]) == 1
    assert held.apply([vector("a", 2, 9, step=4)]) == 0
    assert held.apply([vector("a", 2, 1, step=5)]) == 1
    assert held.vectors[2, 0] == 1
    assert held.apply([neighbours("a", 2, [3], step=4)]) == 1  # steps are held for each table


def test_a_row_that_another_item_takes_over_forgets_everything():
    held = tables()
    held.apply([vector("a", 2, 1), neighbours("a", 2, [3]), vector("b", 3, 1), neighbours("b", 3, [2, 4])])
    held.apply([catalog("a", -1, 10), vector("c", 2, 8, step=11)])
    assert held.row("a") == 1 and held.row("c") == 2 and held.vectors[2, 0] == 8
    assert held.neighbours["item_knn"].items[2].tolist() == [0, 0, 0]
    assert held.neighbours["item_knn"].items[3].tolist() == [0, 4, 0]  # b's list was about a
    assert held.apply([vector("a", 2, 1, step=9)]) == 0 and held.row("c") == 2  # a late echo of a
    held.apply([neighbours("b", 3, [2], step=12)])
    assert held.neighbours["item_knn"].items[3].tolist() == [2, 0, 0]  # and this one is about c


def test_many_rows_that_change_their_items_at_once_are_scrubbed_too():
    held = tables(capacity=40)
    held.apply([vector(f"a{row}", row, 1) for row in range(2, 22)] + [neighbours("list", 30, [2, 25, 21])])
    held.apply([vector(f"b{row}", row, 2, step=9) for row in range(2, 22)])
    assert held.neighbours["item_knn"].items[30].tolist() == [0, 25, 0]


def test_a_row_is_taken_over_without_a_withdrawal_and_an_item_may_move():
    held = tables()
    held.apply([vector("a", 2, 1), vector("b", 2, 2, step=3)])
    assert held.row("a") == 1 and held.row("b") == 2
    held.apply([vector("b", 5, 4, step=4)])
    assert held.row("b") == 5 and held.item_ids(np.array([2])) == [None] and not held.vectors[2].any()
    assert held.live_rows().tolist() == [5]


def test_a_withdrawn_item_stays_away_until_something_newer_names_it():
    held = tables()
    held.apply([vector("a", 2, 1, step=1), catalog("a", -1, 5)])
    assert held.row("a") == 1
    assert held.apply([vector("a", 2, 1, step=4)]) == 0 and held.row("a") == 1
    held.apply([vector("a", 2, 3, step=6)])
    assert held.row("a") == 2 and held.vectors[2, 0] == 3


def test_tables_double_when_a_row_lies_past_the_end():
    held = tables(capacity=4)
    held.apply([vector("a", 2, 1), vector("z", 4, 2), vector("far", 100, 3), neighbours("far", 100, [2])])
    assert len(held) == 101 and held.vectors[[2, 4, 100], 0].tolist() == [1, 2, 3]
    assert held.neighbours["item_knn"].lookup(np.array([100, 5_000]))[0].tolist() == [[2, 0, 0], [0, 0, 0]]
    assert held.gather_vectors(np.array([100, 5_000]))[:, 0].tolist() == [3, 0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (vector("a", 10**9, 1), "row_limit"),
        (vector("a", 1, 1), "reserved_row"),
        (vector("a", -1, 1), "reserved_row"),
        (catalog("a", 0, 1), "reserved_row"),
        (vector("a", 2, np.nan), "not_finite"),
        (Row(table="item_vectors", item_id="a", row=2, step=1, values=b"\0" * 12), "wrong_length"),
        (Row(table="item_vectors", item_id="a", row=2, step=1, values=b"\0" * 3), "wrong_length"),
        (Row(table="item_knn", item_id="a", row=2, step=1, neighbours=b"\0" * 8, weights=b"\0" * 4), "wrong_length"),
        (Row(table="item_knn", item_id="a", row=2, step=1, neighbours=b"\0" * 3, weights=b"\0" * 3), "wrong_length"),
        (Row(table="someone_elses", item_id="a", row=2, step=1), "unknown_table"),
    ],
)
def test_broken_rows_are_counted_and_harm_nothing(row, reason):
    held = tables()
    assert held.apply([row, vector("b", 3, 1)]) == 1
    assert held.refused == {reason: 1} and held.row("a") == 1 and len(held) == 8


def test_freshness_is_told_for_rows_that_know_their_oldest_event():
    ages: list[list[float]] = []
    held = tables(on_applied=ages.append, clock_ms=lambda: 1_000)
    held.apply([vector("a", 2, 1, step=2, oldest_ms=900), vector("b", 3, 1), vector("a", 2, 1, step=1, oldest_ms=1)])
    held.apply([vector("b", 3, 1, step=2)])
    assert ages == [[100.0]]


def test_a_version_is_taken_over_whole_and_later_rows_go_on_from_it():
    held = tables()
    held.apply([vector("old", 2, 9, step=3), neighbours("old", 2, [3], step=3), neighbours("kept", 3, [2, 4], step=3)])
    arrays = {"item_vectors": np.arange(8, dtype=np.float32).reshape(4, 2)}
    held.load(arrays, [None, None, "new", "kept"], step=50)
    assert held.row("old") == 1 and held.row("new") == 2 and held.vectors[3].tolist() == [6, 7]
    assert not held.neighbours["item_knn"].items[2].any() and held.neighbours["item_knn"].items[3, 0] == 2
    assert held.apply([vector("new", 2, 1, step=49)]) == 0
    assert held.apply([vector("new", 2, 1, step=51)]) == 1
    knn = {"item_knn.items": np.full((12, 3), 5, np.int32), "item_knn.weights": np.ones((12, 3), np.float32)}
    held.load(knn, ["", "", *"abcdefghij"], step=60)
    assert len(held) == 16 and held.neighbours["item_knn"].lookup(np.array([11]))[0].tolist() == [[5, 5, 5]]


def test_a_version_of_another_shape_changes_nothing():
    held = tables()
    held.apply([vector("a", 2, 1)])
    for arrays in (
        {"item_vectors": np.zeros((4, 3))},
        {"strangers": np.zeros((4, 2))},
        {"item_knn.items": np.zeros((4, 9))},
    ):
        with pytest.raises(TableError):
            held.load(arrays, [None, None, "b"], step=9)
    assert held.row("a") == 2 and held.vectors[2, 0] == 1


def test_a_pin_shows_a_version_whole_while_the_stream_goes_on_behind_it():
    held, twin = tables(), tables()
    before = [vector("a", 2, 1), vector("b", 3, 1), neighbours("a", 2, [3]), vector("gone", 4, 1)]
    after = [vector("a", 2, 5, step=2), neighbours("a", 2, [4], step=2), catalog("gone", -1, 2), vector("c", 9, 6)]
    version = {"item_vectors": np.array([[0, 0], [0, 0], [7, 7], [8, 8]], np.float32)}
    for one in (held, twin):
        one.apply(before)
    held.pin(held.of_version(version, [None, None, "b", "a"], step=1))
    assert held.pinned and held.item_ids(np.array([2, 3, 4])) == ["b", "a", None]
    assert held.apply(after) == twin.apply(after) == 4
    assert held.vectors[[2, 3], 0].tolist() == [7, 8] and not held.neighbours["item_knn"].items.any()
    assert held.row("c") == 1 and held.take_changed()[0].tolist() == [2, 3, 4, 9], "the index follows the stream too"
    for table in held.table_names:
        assert held.digest(table).tolist() == twin.digest(table).tolist(), "parity is about the stream's tables"
    held.unpin()
    assert not held.pinned and held.vectors.tobytes() == twin.vectors.tobytes()
    assert held.neighbours["item_knn"].items.tobytes() == twin.neighbours["item_knn"].items.tobytes()
    assert held.row("c") == 9 and held.row("gone") == 1


def test_a_switch_and_a_writer_do_not_wait_for_each_other():
    """Who switches holds the readers' lock all the time; a writer holds its own and waits for that one."""
    held = tables()
    version = held.of_version({"item_vectors": np.ones((3, 2), np.float32)}, [None, None, "a"], step=1)
    begun = threading.Event()

    def rows() -> Iterator[Row]:  # read by the writer, behind its lock
        begun.set()
        yield vector("a", 2, 5, step=2)

    def switch() -> None:
        with held.reading():
            writer.start()
            assert begun.wait(10)
            held.pin(version)
            held.unpin()
            held.pin(version)

    writer = threading.Thread(target=lambda: held.apply(rows()), daemon=True)
    switching = threading.Thread(target=switch, daemon=True)
    switching.start()
    switching.join(10)
    assert not switching.is_alive()
    writer.join(10)
    assert not writer.is_alive() and held.vectors[2, 0] == 1
    held.unpin()
    assert held.vectors[2, 0] == 5


def test_a_pin_of_another_shape_changes_nothing_and_a_second_one_replaces_the_first():
    held = tables()
    held.apply([vector("a", 2, 1)])
    with pytest.raises(TableError):
        held.of_version({"item_vectors": np.zeros((4, 3))}, [None, None, "b"], step=9)
    assert not held.pinned and held.row("a") == 2
    for value in (5, 6):
        held.pin(held.of_version({"item_vectors": np.full((3, 2), value, np.float32)}, [None, None, "a"], step=value))
        assert held.vectors[2, 0] == value
    held.unpin()
    assert held.vectors[2, 0] == 1


def test_a_purge_leaves_what_was_named_since_and_fences_what_comes_late():
    held = tables()
    popular = neighbours("*", 0, [2, 3], table="popularity")
    held.apply([vector("a", 2, 1, step=5), vector("b", 3, 1, step=5), neighbours("a", 2, [3], step=5), popular])
    purge = Row(table="purge", item_id="*", row=0, step=0, epoch=1)
    held.apply([vector("a", 2, 2, step=1, epoch=1), purge])
    assert held.row("a") == 2 and held.row("b") == 1 and held.live_rows().tolist() == [2]
    assert not held.neighbours["item_knn"].items.any() and not held.neighbours["popularity"].items.any()
    assert held.apply([vector("b", 3, 9, step=99), neighbours("a", 2, [3], step=99)]) == 0
    assert held.vectors[2, 0] == 2 and held.row("b") == 1


def test_changed_vectors_are_handed_to_the_index_once():
    held = tables()
    held.apply([vector("a", 2, 1), vector("b", 3, 2), neighbours("c", 4, [2])])
    rows, vectors, live = held.take_changed()
    assert rows.tolist() == [2, 3] and vectors[:, 0].tolist() == [1, 2] and live.all()
    held.apply([catalog("a", -1, 9)])
    rows, _, live = held.take_changed()
    assert rows.tolist() == [2] and not live.any()
    assert len(held.take_changed()[0]) == 0


def test_a_reader_never_sees_half_of_a_swap():
    """A writer turns every row of the tables from one item to another; a reader must find them belonging together."""
    held = ItemTables(capacity=40, dimension=64, feature_count=1, sources=(), width=1)
    versions = [
        ([None, None, *(f"{name}{row}" for row in range(2, 40))], value) for name, value in (("a", 1.0), ("b", 2.0))
    ]
    rows = np.arange(2, 40)
    torn: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with held.reading():
                vectors, ids = held.gather_vectors(rows), held.item_ids(rows)
            names = {item_id[0] for item_id in ids if item_id}
            values = set(vectors.ravel().tolist())
            if (names, values) not in (({"a"}, {1.0}), ({"b"}, {2.0}), (set(), {0.0})):
                torn.append((names, values))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for step in range(300):
        ids, value = versions[step % 2]
        held.load({"item_vectors": np.full((40, 64), value, np.float32)}, ids, step)
    stop.set()
    for reader in readers:
        reader.join()
    assert not torn


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([-1, 2, 3, 4]), st.integers(0, 9)), max_size=30))
def test_ids_and_rows_always_say_the_same(messages):
    held = RowCatalog(6)
    for item_id, row, step in messages:
        held.assign(item_id, row, step)
        for name in "abcd":
            place = held.row(name)
            assert place == 1 or held.item_id(place) == name
        for place in range(2, 6):
            name = held.item_id(place)
            assert name is None or held.row(name) == place
    assert len(held.live_rows()) == sum(held.row(name) != 1 for name in "abcd")
