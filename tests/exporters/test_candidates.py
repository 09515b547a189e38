"""Candidates of the whole catalogue: what is unavailable costs no place in the list."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.asks import RecommendAsk
from exporters.candidates import CandidateFinder
from exporters.catalogue import Catalogue, Item
from exporters.deltas import Row
from exporters.item_tables import ItemTables
from exporters.limits import Limits
from exporters.retrieval import VectorIndex

ITEMS, PLACES = 40, 8
IDS = [f"i{number}" for number in range(ITEMS)]


def finder(unavailable: int) -> CandidateFinder:
    """Items fall in popularity; the first ones cannot be had."""
    tables = ItemTables(ITEMS + 2, 2, 1, ("popularity",), ITEMS)
    items, weights = np.zeros((ITEMS + 2, ITEMS), np.int32), np.zeros((ITEMS + 2, ITEMS), np.float32)
    items[0], weights[0] = np.arange(2, ITEMS + 2), np.arange(ITEMS, 0, -1)
    tables.load({"popularity.items": items, "popularity.weights": weights}, [None, None, *IDS], 1)
    catalogue = Catalogue()
    for number, item_id in enumerate(IDS):
        catalogue.put(Item(item_id=item_id, available=number >= unavailable))
    return CandidateFinder(tables, VectorIndex(2), catalogue, lambda: Limits(candidates=PLACES))


@pytest.mark.parametrize("unavailable", [0, 1, 2, 5, PLACES])
def test_unavailable_items_leave_their_places_to_the_next_best(unavailable: int) -> None:
    pool = finder(unavailable).find(RecommendAsk(user_id="u"), np.zeros(0, np.int64), None, (), 0)
    assert list(pool.item_ids) == IDS[unavailable : unavailable + PLACES]
    assert pool.source_scores[:, 0].tolist() == [ITEMS - unavailable - place for place in range(PLACES)]


def test_seen_items_are_left_out_beside_unavailable_ones() -> None:
    ask = RecommendAsk(user_id="u", exclude_seen=True)
    pool = finder(3).find(ask, np.zeros(0, np.int64), None, ["i4", "i6"], 0)
    assert list(pool.item_ids) == ["i3", "i5", *IDS[7 : 5 + PLACES]]


def ids_of(found: CandidateFinder) -> list[str]:
    return list(found.find(RecommendAsk(user_id="u"), np.zeros(0, np.int64), None, (), 0).item_ids)


def test_an_item_that_comes_and_goes_is_followed_at_once() -> None:
    found = finder(1)
    assert ids_of(found) == IDS[1 : 1 + PLACES]
    found._catalogue.put(Item(item_id="i0"))
    found._catalogue.put(Item(item_id="i2", available=False))
    assert ids_of(found) == ["i0", "i1", *IDS[3 : 1 + PLACES]]
    found._catalogue.withdraw("i2")
    assert ids_of(found)[:3] == ["i0", "i1", "i2"], "what the catalogue does not know may be shown"


def test_a_row_that_changes_its_item_or_loses_it_is_followed_at_once() -> None:
    found = finder(1)
    assert ids_of(found)[:2] == ["i1", "i2"]
    row = dict(table="catalog", model="student", step=5)
    found._tables.apply([Row(item_id="i1", row=-1, **row), Row(item_id="new", row=4, **row)])
    found._catalogue.put(Item(item_id="new"))
    assert {"i1", "i2"}.isdisjoint(ids_of(found))
    found._tables.apply([Row(item_id="i0", row=5, **row)])
    assert "i3" not in ids_of(found) and "i0" not in ids_of(found), "it is unavailable in its new row too"


def test_another_version_s_rows_are_followed_at_once() -> None:
    found = finder(1)
    tables = found._tables
    arrays = {
        f"popularity.{part}": getattr(tables.neighbours["popularity"], part).copy() for part in ("items", "weights")
    }
    for gone in range(2, 22):
        ids = [None, None, *[None if number == gone else item_id for number, item_id in enumerate(IDS)]]
        tables.pin(tables.of_version(arrays, ids, 1))
        assert ids_of(found) == [item_id for item_id in IDS[1:] if item_id != f"i{gone}"][:PLACES]
        tables.unpin()
        assert ids_of(found) == IDS[1 : 1 + PLACES]


def test_many_unavailable_items_are_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.candidates._MOST_CLOSED", 4)
    assert ids_of(finder(5)) == IDS[5 : 5 + PLACES]


def test_a_pool_names_its_items_like_a_list() -> None:
    pool = finder(0).find(RecommendAsk(user_id="u"), np.zeros(0, np.int64), None, (), 0)
    assert len(pool.item_ids) == len(pool) == PLACES and pool.item_ids[1:3] == ["i1", "i2"]
    assert pool.item_ids[-1] == f"i{PLACES - 1}" and list(pool.take(np.array([3, 0])).item_ids) == ["i3", "i0"]
