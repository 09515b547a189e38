from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from streamer import label_upkeep
from streamer.label_files import files_of, superseded
from streamer.label_store import LabelStore
from streamer.label_upkeep import compact, expire
from streamer.label_writer import LabelWriter
from streamer.soft_labels import UNTOLD, encode

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS + 3_600_000


@pytest.fixture
def writer(tmp_path: Path) -> LabelWriter:
    return LabelWriter(tmp_path)


@pytest.fixture
def flushes(writer: LabelWriter, example, soft_label):
    """Write one file for each flush of three labels, on a day so long ago."""
    offsets = {0: 0, 1: 0}

    def write(number: int, days_ago: int = 0, partition: int = 0) -> None:
        for _ in range(number):
            for _ in range(3):
                offset = offsets[partition]
                one = example(offset, partition=partition, example_id=f"x{partition}.{offset}")
                label = soft_label(one, {"a": float(offset)}, labelled_ms=NOW_MS - days_ago * DAY_MS, learnt=7)
                writer.add(partition, offset, encode(label))
                offsets[partition] += 1
            writer.flush()

    return write


def labels_of(folder: Path) -> list[str]:
    return [encode(label).hex() for labels in LabelStore(folder).scan() for label in labels]


def test_compaction_keeps_every_row_in_its_order(tmp_path: Path, flushes) -> None:
    flushes(5, days_ago=2)
    flushes(2, days_ago=2, partition=1)
    flushes(4, days_ago=0)
    before = labels_of(tmp_path)
    assert compact(tmp_path, NOW_MS, most_files=16) == 4 + 1
    spans = [(file.partition, file.first, file.last) for file in files_of(tmp_path)]
    assert spans == [(0, 0, 14), (1, 0, 5), (0, 15, 17), (0, 18, 20), (0, 21, 23), (0, 24, 26)]
    assert labels_of(tmp_path) == before
    assert compact(tmp_path, NOW_MS, most_files=16) == 0, "there is nothing left to merge"
    assert compact(tmp_path, NOW_MS, most_files=4) == 3 and labels_of(tmp_path) == before


def test_files_of_an_earlier_version_are_read_and_merged(tmp_path: Path, flushes) -> None:
    """They do not say what the teacher had learnt."""
    flushes(2, days_ago=2)
    earlier = files_of(tmp_path)[0].path
    pq.write_table(pq.read_table(earlier).drop_columns(["learnt"]), earlier)
    expected = [UNTOLD] * 3 + [7] * 3
    assert [label.learnt for labels in LabelStore(tmp_path).scan() for label in labels] == expected
    assert compact(tmp_path, NOW_MS, most_files=16) == 1 and len(files_of(tmp_path)) == 1
    assert [label.learnt for labels in LabelStore(tmp_path).scan() for label in labels] == expected


def test_what_is_large_is_not_written_again(tmp_path: Path, flushes, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes(4)
    large = next(tmp_path.glob(f"*/partition-00000-{3:020d}-*"))
    monkeypatch.setattr(label_upkeep, "LARGE_BYTES", large.stat().st_size)
    large.write_bytes(large.read_bytes())  # as it was
    compact(tmp_path, NOW_MS, most_files=2)
    assert large.exists()


def test_a_crash_between_writing_and_removing_doubles_nothing(
    tmp_path: Path, writer: LabelWriter, flushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes(6, days_ago=1)
    before = labels_of(tmp_path)

    def dies(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(label_upkeep, "remove", dies)
    with pytest.raises(KeyboardInterrupt):
        compact(tmp_path, NOW_MS)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*/*.parquet"))) == 7 and len(superseded(tmp_path)) == 6
    assert labels_of(tmp_path) == before
    writer.close()
    LabelWriter(tmp_path)
    assert len(list(tmp_path.glob("*/*.parquet"))) == 1 and labels_of(tmp_path) == before


def test_old_days_go_and_the_writer_goes_on(tmp_path: Path, writer: LabelWriter, flushes) -> None:
    flushes(1, days_ago=20)
    flushes(1, days_ago=15)
    flushes(1, days_ago=14)
    flushes(1)
    assert expire(tmp_path, NOW_MS, retention_days=14) == 2
    assert len(list(tmp_path.glob("label_date=*"))) == 2 and len(labels_of(tmp_path)) == 6
    assert expire(tmp_path, NOW_MS, retention_days=14) == 0
    writer.close()
    assert LabelWriter(tmp_path).offsets == {0: 12}
