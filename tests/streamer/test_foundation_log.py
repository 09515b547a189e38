from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.errors import SourceError
from streamer.event_log import SCHEMA
from streamer.foundation_log import LogReader


def write(folder: Path, date: str, partition: int, first: int, last: int, offsets: list[int]) -> Path:
    rows = [{"event_id": f"e{offset}", "type": "interaction", "offset": offset} for offset in offsets]
    path = folder / f"event_date={date}" / f"partition-{partition:05d}-{first:020d}-{last:020d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def offsets(reader: LogReader) -> list[list[int]]:
    return [[row["offset"] for row in rows] for rows in reader.read()]


def test_flushes_come_in_order_and_once(tmp_path: Path) -> None:
    write(tmp_path, "2024-01-02", 0, 10, 12, [10, 12])
    write(tmp_path, "2024-01-01", 0, 10, 12, [11])
    write(tmp_path, "2024-01-01", 0, 2, 9, [2, 9])
    write(tmp_path, "2024-01-01", 1, 0, 0, [0])
    reader = LogReader(tmp_path)
    assert offsets(reader) == [[2, 9], [10, 11, 12], [0]]
    assert offsets(reader) == []
    write(tmp_path, "2024-01-03", 1, 1, 3, [1, 3])
    assert offsets(reader) == [[1, 3]]


def test_a_file_of_the_newest_flush_that_comes_late_is_not_lost(tmp_path: Path) -> None:
    write(tmp_path, "2024-01-01", 0, 0, 5, [0, 5])
    reader = LogReader(tmp_path)
    assert offsets(reader) == [[0, 5]]
    write(tmp_path, "2024-01-02", 0, 0, 5, [3])  # the flush had not ended when it was read
    assert offsets(reader) == [[3]]


def test_what_is_remembered_stays_small(tmp_path: Path) -> None:
    reader = LogReader(tmp_path)
    for flush in range(30):
        write(tmp_path, f"2024-01-{flush + 1:02d}", 0, flush, flush, [flush])
        assert offsets(reader) == [[flush]]
    assert sum(len(names) for names in reader.state_dict()["read"].values()) == 1


def test_resume_goes_on_behind_what_was_read(tmp_path: Path) -> None:
    write(tmp_path, "2024-01-01", 0, 0, 1, [0, 1])
    reader, resumed = LogReader(tmp_path), LogReader(tmp_path)
    offsets(reader)
    resumed.load_state_dict(reader.state_dict())
    write(tmp_path, "2024-01-01", 0, 2, 3, [2, 3])
    assert offsets(resumed) == [[2, 3]]


def test_a_flush_that_was_not_taken_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, "2024-01-01", 0, 0, 1, [0, 1])
    write(tmp_path, "2024-01-01", 0, 2, 3, [2, 3])
    reader = LogReader(tmp_path)
    for _ in reader.read():
        break
    assert offsets(reader) == [[0, 1], [2, 3]]


def test_other_files_are_left_alone_and_a_missing_log_is_empty(tmp_path: Path) -> None:
    (tmp_path / "event_date=2024-01-01").mkdir()
    (tmp_path / "event_date=2024-01-01" / ".partition-00000-0-1.77.tmp").write_bytes(b"half")
    assert offsets(LogReader(tmp_path)) == []
    assert offsets(LogReader(tmp_path / "nowhere")) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "2024-01-01", 0, 0, 1, [0])
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(SourceError, match=r"partition-00000-0+-0+1\.parquet cannot be read"):
        offsets(LogReader(tmp_path))
