from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.replay import item_info
from feature_store.row_file import RowFile, item_schema
from feature_store.slates import OpenSlates
from feature_store.vectors import ITEM_NAMES
from streamer.events import Event


def test_a_withdrawn_item_is_not_available() -> None:
    event = Event(event_id="e", type="item", event_time_ms=1, item_id="i", available=False)
    assert not item_info(event).available


def test_answers_count_only_in_their_window_and_only_for_shown_items() -> None:
    slates = OpenSlates(1_000)
    slates.open("p", ["a", "b"], 0)
    slates.open("q", ["a", "b"], 500)
    slates.answer("p", "not shown")
    slates.answer(None, "a")
    assert list(slates.close_before(1_000)) == []
    assert [slate.outcomes for slate in slates.close_before(1_400)] == [[0, 0]]
    slates.answer("p", "a")
    slates.answer("q", "a")
    assert [slate.outcomes for slate in slates.close_before(9_999)] == [[1, 0]]


def test_a_row_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    row = ["i", 7, *[0.5] * len(ITEM_NAMES)]
    with pytest.raises(RuntimeError), RowFile(path, item_schema()) as file:
        file.add(row)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with RowFile(path, item_schema()) as file:
        for _ in range(20_001):
            file.add(row)
    assert pq.read_table(path).num_rows == 20_001
    assert pq.read_schema(path).field("event_timestamp").type == pa.timestamp("us", tz="UTC")


def test_a_row_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    with RowFile(tmp_path / "items.parquet", item_schema()):
        pass
    assert pq.read_table(tmp_path / "items.parquet").column_names == item_schema().names
