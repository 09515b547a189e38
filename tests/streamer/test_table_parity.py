from __future__ import annotations

import pytest

from exporters.announcements import Announcement, decode, encode
from exporters.deltas import DIGEST, VECTORS, Row
from exporters.item_tables import ItemTables
from streamer.model_requests import request_of
from streamer.table_parity import TableParity


@pytest.fixture
def tables() -> ItemTables:
    made = ItemTables(capacity=80, dimension=2, feature_count=1, sources=("item_knn",), width=3)
    made.apply([Row(table=VECTORS, item_id=f"i{n}", row=n, step=1, values=bytes([n] * 8)) for n in range(2, 70)])
    return made


def digest(tables: ItemTables, table: str) -> Row:
    return Row(table=DIGEST, item_id=table, row=0, step=1, values=tables.digest(table).astype("<u8").tobytes())


def test_what_differs_is_named_asked_for_once_and_forgotten_when_it_agrees(tables) -> None:
    asked: list[Announcement] = []
    now = [0.0]
    parity = TableParity("student", tables, asked.append, clock=lambda: now[0])
    good = digest(tables, VECTORS)
    assert parity.check(good) and not asked
    kept = tables.vectors[[5, 66]].copy()
    tables.vectors[[5, 66]] += 1
    assert not parity.check(good) and not parity.check(good)
    assert [(one.kind, one.table, one.buckets) for one in asked] == [("repair", VECTORS, [2, 5])]
    now[0] = 6.0
    assert not parity.check(good) and len(asked) == 2 and parity.differing == {VECTORS: [2, 5]}
    tables.vectors[[5, 66]] = kept
    assert parity.check(good) and not parity.differing
    assert (
        request_of(encode(asked[0]), "student", "repair") == decode(encode(asked[0]))
        and request_of(b"{", "student", "repair") is None
    )
    assert request_of(encode(asked[0]), "caser", "repair") is None


def test_tables_in_doubt_are_cleared_one_by_one(tables) -> None:
    asked: list[Announcement] = []
    parity = TableParity("student", tables, asked.append)
    parity.doubt("the topic was cut.")
    parity.ask_for_all()
    assert asked[0].table == "" and len(parity.reasons()) == 1
    for table in tables.table_names:
        assert table in parity.reasons()[0]
        parity.check(digest(tables, table))
    assert parity.reasons() == []


def test_a_digest_that_cannot_be_read_clears_nothing(tables) -> None:
    parity = TableParity("student", tables, lambda announcement: None)
    parity.doubt("the topic was cut.")
    short = Row(table=DIGEST, item_id=VECTORS, row=0, step=1, values=b"123")
    assert not parity.check(short) and not parity.check(Row(table=DIGEST, item_id="strange", row=0, step=1))
    assert VECTORS in parity.reasons()[0]
