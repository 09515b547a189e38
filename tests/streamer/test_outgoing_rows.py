from __future__ import annotations

import numpy as np
import pytest

from exporters.deltas import CATALOG, PURGE, VECTORS, Row
from streamer import outgoing_rows
from streamer.outgoing_rows import OutgoingRows


def vector(row: int, value: float = 1.0) -> Row:
    return Row(table=VECTORS, item_id=f"i{row}", row=row, step=4, values=np.full(2, value, "<f4").tobytes())


@pytest.fixture
def outgoing() -> OutgoingRows:
    made = OutgoingRows("caser", 50, {})
    made.begin(epoch=7, step=4)
    return made


def test_a_batch_says_how_many_it_is_and_items_are_never_cut(outgoing, monkeypatch) -> None:
    monkeypatch.setattr(outgoing_rows, "BATCH_ROWS", 3)
    rows = [vector(number) for number in (5, 2, 2, 3, 3, 4)]
    sealed = outgoing.seal(rows, 4)
    assert [(one.row, one.batch, one.of) for one in sealed] == [
        (2, 1, 4), (2, 1, 4), (3, 1, 4), (3, 1, 4), (4, 2, 2), (5, 2, 2),
    ]  # fmt: skip
    assert {one.epoch for one in sealed} == {7}
    assert outgoing.seal([vector(2)], 5)[0].batch == 3 and outgoing.seal([], 5) == []


def test_what_left_is_withdrawn_before_what_takes_its_place(outgoing) -> None:
    outgoing.seal([vector(2)], 4)
    outgoing.shown.forget([2])
    first, second = outgoing.seal([Row(table=VECTORS, item_id="new", row=2, step=4, values=bytes(8))], 4)
    assert (first.table, first.item_id, first.row, first.model) == (CATALOG, "i2", -1, "caser")
    assert second.item_id == "new" and first.batch == second.batch


def test_a_lineage_is_purged_once(outgoing) -> None:
    assert not outgoing.complete
    (purge,) = outgoing.purge()
    assert (purge.table, purge.epoch, purge.step, purge.model) == (PURGE, 7, 4, "caser")
    assert outgoing.complete and outgoing.purge() == []


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "not_finite"), (-np.inf, "not_finite"), (2e3, "too_large")])
def test_broken_rows_stay_here_and_are_counted(outgoing, value, reason) -> None:
    before = outgoing.digest(VECTORS, 4).values
    assert outgoing.seal([vector(2, value)], 4) == [] and outgoing.refused == {reason: 1}
    assert outgoing.digest(VECTORS, 4).values == before
