from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamer import label_store
from streamer.errors import SourceError
from streamer.label_files import LabelFile, files_of
from streamer.label_store import LabelStore
from streamer.label_upkeep import compact
from streamer.label_writer import LabelWriter
from streamer.soft_labels import SoftLabel, encode

HOUR_MS = 3_600_000
START_MS = 20_000 * 86_400_000


@pytest.fixture
def filled(tmp_path: Path, example, soft_label) -> tuple[LabelStore, list[SoftLabel]]:
    """Labels of three days, one an hour, over two partitions."""
    writer, made = LabelWriter(tmp_path), []
    for hour in range(72):
        one = example(hour, partition=hour % 2)
        version = f"teacher-{1 + hour // 48}"
        label = soft_label(one, {"a": 1.0, "b": 0.5}, labelled_ms=START_MS + hour * HOUR_MS, version=version)
        writer.add(hour % 2, hour, encode(label))
        made.append(label)
        if hour % 10 == 9:
            writer.flush()
    writer.flush()
    return LabelStore(tmp_path), made


def test_reading_by_ids(filled) -> None:
    store, made = filled
    assert store.read(["x3", "x50", "nobody's"]) == {"x3": made[3], "x50": made[50]}
    assert store.read([]) == {}


def test_reading_by_ids_within_times(filled) -> None:
    store, made = filled
    assert set(store.read(["x3", "x30", "x50"], START_MS + 10 * HOUR_MS, START_MS + 40 * HOUR_MS)) == {"x30"}
    at = START_MS + 30 * HOUR_MS
    assert set(store.read(["x30"], at, at)) == {"x30"}, "both ends count"


def test_days_outside_are_not_opened(filled) -> None:
    store, made = filled
    for file in files_of(store.folder):
        if file.date != "2024-10-05":
            file.path.write_bytes(b"not Parquet")
    assert set(store.read(["x30"], START_MS + 25 * HOUR_MS, START_MS + 40 * HOUR_MS)) == {"x30"}
    with pytest.raises(SourceError, match="cannot be read"):
        store.read(["x30"])


def test_the_label_given_last_counts(tmp_path: Path, example, soft_label) -> None:
    writer = LabelWriter(tmp_path)
    for offset, (version, after_ms) in enumerate((("teacher-1", 0), ("teacher-3", 9_000), ("teacher-2", 5_000))):
        writer.add(0, offset, encode(soft_label(example(1), {"a": 1.0}, version=version, labelled_ms=after_ms)))
    writer.flush()
    assert LabelStore(tmp_path).read(["x1"])["x1"].version == "teacher-3"


def test_scanning_gives_all_between_two_times(filled) -> None:
    store, made = filled
    compact(store.folder, START_MS + 100 * HOUR_MS)
    found = [label for labels in store.scan() for label in labels]
    assert sorted(found, key=lambda label: label.labelled_ms) == made
    some = [label for labels in store.scan(START_MS + 20 * HOUR_MS, START_MS + 29 * HOUR_MS) for label in labels]
    assert sorted(some, key=lambda label: label.labelled_ms) == made[20:30]


def test_a_reader_survives_a_merge_under_its_hands(filled, monkeypatch: pytest.MonkeyPatch) -> None:
    store, made = filled
    real, calls = store._read_files, 0

    def merged_meanwhile(files, *more):
        nonlocal calls
        calls += 1
        if calls == 1:
            compact(store.folder, START_MS + 100 * HOUR_MS)
        return real(files, *more)

    monkeypatch.setattr(store, "_read_files", merged_meanwhile)
    assert set(store.read(["x3", "x60"])) == {"x3", "x60"} and calls == 2


def test_stats(filled, tmp_path: Path) -> None:
    store, _ = filled
    found = store.stats(START_MS + 71 * HOUR_MS)
    assert found.rows == 72 and found.versions == {"teacher-1": 48, "teacher-2": 24}
    assert list(found.days.values()) == [24, 24, 24] and found.recent == 2
    assert found.bytes_per_label == found.bytes / 72 and found.files == len(list(tmp_path.glob("*/*.parquet")))


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "not there")
    assert not store and store.read(["x"]) == {} and list(store.scan()) == []
    assert store.stats(0).bytes_per_label == 0


def test_files_that_are_merged_away_while_they_are_read_are_found_in_the_larger_one(
    filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, made = filled
    listed, calls = label_store.files_of, []

    def merged_after_listing(*arguments: Any) -> list[LabelFile]:
        files = listed(*arguments)
        calls.append(len(files))
        if len(calls) == 2:  # the listing from which the first files are opened
            assert compact(store.folder, START_MS + 72 * HOUR_MS, most_files=2) > 0
        return files

    monkeypatch.setattr(label_store, "files_of", merged_after_listing)
    found = [label.example_id for labels in store.scan() for label in labels]
    assert sorted(found) == sorted(label.example_id for label in made), "none is lost, none comes twice"
    assert store.stats(START_MS).rows == len(made)
