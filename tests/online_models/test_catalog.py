from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import state_tree
from online_models.catalog import Catalog


def test_ids_get_rows_after_enough_sightings() -> None:
    catalog = Catalog(rows=8, admission_sightings=3)
    assert [catalog.admit("a", time) for time in (1.0, 2.0, 3.0, 4.0)] == [1, 1, 2, 2]
    assert catalog.id_of(2) == "a" and catalog.id_of(3) is None and catalog.id_of(0) is None
    assert len(catalog) == 1 and "a" in catalog and "b" not in catalog


def test_looking_admits_nothing() -> None:
    catalog = Catalog(rows=8, admission_sightings=2)
    for _ in range(5):
        assert catalog.row("a") == 1
        assert catalog.rows(["a", "b"]).tolist() == [1, 1]
    assert catalog.admit("a", 0.0) == 1
    assert catalog.rows([]).shape == (0,)


def test_the_row_not_seen_for_longest_is_taken() -> None:
    catalog = Catalog(rows=5)
    for time, item in enumerate("abc"):
        catalog.admit(item, float(time))
    catalog.admit("a", 3.0)
    assert catalog.admit("d", 4.0) == 3
    assert catalog.take_freed() == [(3, "b")]
    assert catalog.take_freed() == []
    assert catalog.row("b") == 1 and catalog.id_of(3) == "d"
    assert catalog.active_rows().tolist() == [4, 2, 3]


def test_fresh_rows_are_kept_where_that_is_asked() -> None:
    catalog = Catalog(rows=3, keep_seconds=60)
    catalog.admit("a", 100.0)
    assert catalog.admit("b", 159.0) == 1
    assert catalog.row("a") == 2
    assert catalog.admit("b", 160.0) == 2
    assert catalog.take_freed() == [(2, "a")]


def test_a_late_event_does_not_age_an_item() -> None:
    catalog = Catalog(rows=4)
    catalog.admit("a", 100.0)
    catalog.admit("a", 50.0)
    assert catalog.last_seen_s(2) == 100.0


def test_withdrawn_items_free_their_row() -> None:
    catalog = Catalog(rows=8)
    catalog.admit("a", 0.0)
    catalog.admit("b", 0.0)
    assert catalog.remove("a") == 2 and catalog.remove("a") == 1
    assert catalog.take_freed() == [(2, "a")]
    assert catalog.admit("c", 1.0) == 2


def test_memory_is_bounded_under_a_flood_of_ids() -> None:
    catalog = Catalog(rows=10, admission_sightings=2, pending=5)
    for number in range(1000):
        catalog.admit(f"noise-{number}", float(number))
        catalog.take_freed()
    size = state_tree.size_bytes(catalog.state_dict())
    for number in range(1000, 9999):
        catalog.admit(f"noise-{number}", float(number))
        catalog.admit(f"noise-{number}", float(number))
        catalog.take_freed()
    assert len(catalog) == 8
    assert state_tree.size_bytes(catalog.state_dict()) < size + 200


@pytest.mark.parametrize(("arguments", "message"), [((2,), "rows is 2"), ((8, 0), "admission_sightings is 0")])
def test_impossible_sizes_are_refused(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Catalog(*arguments)


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a catalogue of 8 rows, this one has 9; set rows to 8"):
        Catalog(rows=9).load_state_dict(Catalog(rows=8).state_dict())


sightings = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["admit", "remove"])), max_size=60)


@given(before=sightings, after=sightings, needed=st.integers(1, 2))
def test_rows_stay_consistent_and_resume_exactly(
    before: list[tuple[str, str]], after: list[tuple[str, str]], needed: int
) -> None:
    catalog, resumed = Catalog(rows=6, admission_sightings=needed), Catalog(rows=6, admission_sightings=needed)
    for time, (item, action) in enumerate(before):
        catalog.admit(item, float(time)) if action == "admit" else catalog.remove(item)
    resumed.load_state_dict(state_tree.unpack(*state_tree.pack(catalog.state_dict())))
    for time, (item, action) in enumerate(after):
        for each in (catalog, resumed):
            each.admit(item, 100.0 + time) if action == "admit" else each.remove(item)
        held = {item: catalog.row(item) for item in "abcdefgh" if item in catalog}
        assert len(set(held.values())) == len(held) and all(2 <= row < 6 for row in held.values())
        assert all(catalog.id_of(row) == item for item, row in held.items())
    assert state_tree.equal(catalog.state_dict(), resumed.state_dict())
    assert catalog.take_freed() == resumed.take_freed()


def test_used_is_above_every_row_that_was_ever_held() -> None:
    catalog = Catalog(rows=8)
    assert catalog.used == 2
    rows = [catalog.admit(item_id, 1.0) for item_id in "abc"]
    catalog.remove("c")
    assert catalog.used == max(rows) + 1
    again = Catalog(rows=8)
    again.load_state_dict(catalog.state_dict())
    assert again.used == catalog.used
