from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.errors import SourceError
from streamer.events import Event
from streamer.sources import open_source
from streamer.sources.files import ColumnMap, read_lines

T = 1_718_000_000_000
GOOD = '{"event_id":"%s","type":"interaction","event_time_ms":%d,"user_id":"u","item_id":"i","action":"view"}'


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def only(path: Path, columns: ColumnMap | None = None) -> Event:
    (line,) = read_lines(path, columns)
    assert line.event is not None, line.error
    return line.event


def test_jsonl_lines_are_numbered_and_bad_ones_do_not_stop_the_rest(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", "\ufeff" + GOOD % ("a", T) + "\n\nnonsense\r\n" + GOOD % ("b", 5) + "\n" + GOOD % ("c", T)
    )
    lines = list(read_lines(path))
    assert [line.number for line in lines] == [1, 3, 4, 5]
    assert [line.error and line.error.reason for line in lines] == [None, "malformed_json", "time_out_of_range", None]


def test_a_source_is_in_order_of_time_and_keeps_items_apart(tmp_path: Path) -> None:
    item = f'{{"event_id":"x","type":"item","event_time_ms":{T},"item_id":"i"}}'
    path = write(
        tmp_path / "a.jsonl", "\n".join([GOOD % ("late", T + 5), item, GOOD % ("early", T), GOOD % ("tie", T)])
    )
    source = open_source(str(path))
    assert [event.event_id for event in source.events()] == ["early", "tie", "late"]
    assert [event.event_id for event in source.items()] == ["x"]
    assert source.event_count == 3
    assert [event.event_id for event in open_source(str(path), limit=1).events()] == ["early"]


def test_a_source_with_bad_lines_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD % ("a", T) + "\n{}\n[]")
    with pytest.raises(SourceError, match=r"2 lines of .* line 2: .*headwater validate"):
        list(open_source(str(path)).events())


def test_csv_with_a_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "uid,movie,when,stars,colour\n007,12,1718000000,4.5,red\n")
    columns = ColumnMap.parse(
        ["user_id=uid", "item_id=movie", "event_time_seconds=when", "value=stars"], ["action=rating"]
    )
    assert only(path, columns) == Event(
        event_id="a.csv:0",
        type="interaction",
        event_time_ms=T,
        user_id="007",
        item_id="12",
        action="rating",
        value=4.5,
        extra={"colour": "red"},
    )


def test_csv_lists_empty_cells_and_iso_times(tmp_path: Path) -> None:
    text = "type,event_time,user_id,impression_id,items,query\nimpression,2024-06-10T08:13:20+02:00,u,p,a|b|c,\n"
    event = only(write(tmp_path / "a.csv", text))
    assert event.items == ["a", "b", "c"] and event.query is None and event.event_time_ms == 1_718_000_000_000
    as_json = (
        'type\tevent_time\tuser_id\timpression_id\titems\nimpression\t2024-06-10 06:13:20\tu\tp\t"[""a"",""b""]"\n'
    )
    assert only(write(tmp_path / "a.tsv", as_json)).items == ["a", "b"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (f"u,i,view,{T},abc", "wrong_type"),
        (f"u,i,view,{T},nan", "nan_value"),
        (f"u,i,view,{T},inf", "nan_value"),
        ("u,i,view,yesterday,1", "wrong_type"),
        (f"u,,view,{T},1", "missing_field"),
        (f"u,i,view,{T},1,more", "wrong_type"),
        ("u,i,view,5,1", "time_out_of_range"),
    ],
)
def test_csv_rows_that_break_the_contract(tmp_path: Path, cells: str, reason: str) -> None:
    path = write(tmp_path / "a.csv", f"user_id,item_id,action,event_time_ms,value\n{cells}\nu,i,view,{T},2\n")
    bad, good = read_lines(path)
    assert bad.error is not None and bad.error.reason == reason and bad.number == 2
    assert good.event is not None and good.event.value == 2.0


def test_parquet_numbers_become_ids_and_missing_cells_are_left_out(tmp_path: Path) -> None:
    moment = datetime(2024, 6, 10, 6, 13, 20, tzinfo=UTC)
    table = pa.table(
        {
            "user_id": [1, 2],
            "item_id": [5.0, 6.0],
            "event_time": [moment, moment],
            "price": [None, float("nan")],
            "categories": [["x", "y"], None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    first, second = read_lines(tmp_path / "a.parquet", ColumnMap.parse([], ["action=view"]))
    assert first.event is not None and second.event is not None
    assert (first.event.user_id, first.event.item_id, first.event.event_time_ms) == ("1", "5", T)
    assert first.event.categories == ["x", "y"] and second.event.price is None
    assert second.event.event_id == "a.parquet:1"


def test_mapping_of_jsonl_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(f'{{"event_id":"a","type":"interaction","ts":{T},"user_id":"u","item_id":"i"}}\n[]\n')
    good, bad = read_lines(path, ColumnMap.parse(["event_time_ms=ts"], ["action=view"]))
    assert good.event is not None and good.event.event_time_ms == T
    assert bad.error is not None and bad.error.reason == "wrong_type"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    damaged = tmp_path / "a.parquet"
    damaged.write_bytes(b"PAR1 no")
    cut = tmp_path / "a.jsonl.gz"
    cut.write_bytes(gzip.compress(b"x" * 10_000)[:20])
    latin = tmp_path / "a.csv"
    latin.write_bytes(b"user_id\n\xff\n")
    for path in (damaged, cut, latin, tmp_path / "none.csv", write(tmp_path / "a.txt", "")):
        with pytest.raises(SourceError, match=f"cannot read {path}"):
            list(read_lines(path))


def test_a_mapping_has_to_fit() -> None:
    with pytest.raises(SourceError, match="FIELD=COLUMN"):
        ColumnMap.parse(["user_id"], [])
    with pytest.raises(SourceError, match="'uid' is no field"):
        ColumnMap.parse(["uid=user_id"], [])


def test_a_mapped_column_has_to_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    with pytest.raises(SourceError, match="no column uid; it has a, b"):
        list(read_lines(path, ColumnMap.parse(["user_id=uid"], [])))
