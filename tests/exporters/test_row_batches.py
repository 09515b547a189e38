from __future__ import annotations

from exporters.deltas import Row
from exporters.row_batches import RowBatches


def row(batch: int, item_id: str = "a", of: int = 3, epoch: int = 1) -> Row:
    return Row(table="catalog", item_id=item_id, row=2, step=1, batch=batch, of=of, epoch=epoch)


def test_a_batch_comes_out_when_it_is_whole():
    batches = RowBatches()
    assert batches.add(row(1, "a")) == batches.add(row(1, "b")) == [] and len(batches) == 2
    assert [one.item_id for one in batches.add(row(1, "c"))] == ["a", "b", "c"] and len(batches) == 0


def test_what_compaction_left_of_a_batch_comes_with_the_next_one():
    batches = RowBatches()
    batches.add(row(1, "a"))
    assert [one.item_id for one in batches.add(row(2, "b"))] == ["a"] and len(batches) == 1


def test_a_batch_that_an_earlier_start_did_not_finish_is_dropped():
    batches = RowBatches()
    batches.add(row(1, "a"))
    assert batches.add(row(1, "b", epoch=2)) == [] and batches.dropped == 1
    assert [one.item_id for one in batches.flush()] == ["b"]


def test_a_broken_record_does_not_hold_back_its_batch():
    batches = RowBatches()
    assert batches.broken() == []
    batches.add(row(1, "a"))
    batches.add(row(1, "b"))
    assert [one.item_id for one in batches.broken()] == ["a", "b"]


def test_rows_without_a_batch_are_shown_at_once():
    assert [one.item_id for one in RowBatches().add(row(0, "a", of=0))] == ["a"]
