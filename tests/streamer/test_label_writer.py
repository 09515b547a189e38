from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer import label_files, label_writer
from streamer.errors import SourceError
from streamer.label_store import LabelStore
from streamer.label_writer import LabelWriter
from streamer.soft_labels import SoftLabel, encode

DAY_MS = 86_400_000
Fill = Callable[..., list[SoftLabel]]


@pytest.fixture
def fill(example, soft_label) -> Fill:
    """Give a writer labels of the offsets ``first … last - 1`` of a partition; returns them."""

    def add(writer: LabelWriter, first: int, last: int, partition: int = 0, **fields) -> list[SoftLabel]:
        made = [
            soft_label(example(offset, partition=partition, example_id=f"x{partition}.{offset}"), {"a": 1.5, "b": -2.0})
            for offset in range(first, last)
        ]
        for offset, label in enumerate(made, start=first):
            writer.add(partition, offset, encode(label))
        return made

    return add


def all_of(folder: Path) -> list[str]:
    return sorted(label.example_id for labels in LabelStore(folder).scan() for label in labels)


def ids(*ranges: tuple[int, int, int]) -> list[str]:
    return sorted(f"x{partition}.{offset}" for partition, first, last in ranges for offset in range(first, last))


def test_labels_come_back_as_they_were_written(tmp_path: Path, fill: Fill) -> None:
    writer = LabelWriter(tmp_path)
    made = fill(writer, 0, 5)
    made += [fill(writer, 7, 8, partition=2)[0]]
    tasks = made[0].__class__(
        **{**{f: getattr(made[0], f) for f in made[0].__struct_fields__}, "tasks": {"like": 0.25}}
    )
    writer.add(0, 5, encode(tasks))
    assert len(writer) == 7 and writer.flush() == 7 and len(writer) == 0 and writer.offsets == {0: 6, 2: 8}
    assert writer.flush() == 0, "nothing new"
    assert [label for labels in LabelStore(tmp_path).scan() for label in labels] == [*made[:5], tasks, made[5]]


def test_a_restart_goes_on_where_the_files_end(tmp_path: Path, fill: Fill) -> None:
    first = LabelWriter(tmp_path)
    fill(first, 0, 10)
    first.flush()
    fill(first, 10, 14)  # taken, never written
    first.close()
    second = LabelWriter(tmp_path)
    assert second.offsets == {0: 10}
    fill(second, 0, 20)  # a broker may give what was written already
    assert second.flush() == 10
    assert all_of(tmp_path) == ids((0, 0, 20))


@pytest.mark.parametrize("cut", ["first file", "second file", "offsets"])
def test_a_flush_that_was_cut_off_is_done_again(
    tmp_path: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    first = LabelWriter(tmp_path)
    fill(first, 0, 4)
    first.flush()
    fill(first, 4, 8)
    fill(first, 0, 3, partition=1)
    written = 0
    real = label_writer.write

    def dies(path: Path, tables) -> None:
        nonlocal written
        if (cut, written) in (("first file", 0), ("second file", 1)):
            raise KeyboardInterrupt
        real(path, tables)
        written += 1

    def dies_later(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(label_writer, "write", dies)
    if cut == "offsets":
        monkeypatch.setattr(label_writer, "write_offsets", dies_later)
    with pytest.raises(KeyboardInterrupt):
        first.flush()
    first.close()
    monkeypatch.undo()

    second = LabelWriter(tmp_path)
    assert second.offsets == {0: 4} and all_of(tmp_path) == ids((0, 0, 4)), "what the note does not hold is gone"
    fill(second, 4, 9)
    fill(second, 0, 3, partition=1)
    second.flush()
    assert all_of(tmp_path) == ids((0, 0, 9), (1, 0, 3))


def test_a_file_that_was_cut_off_in_its_middle_is_removed(tmp_path: Path, fill: Fill) -> None:
    writer = LabelWriter(tmp_path)
    fill(writer, 0, 4)
    writer.flush()
    writer.close()
    day = next(tmp_path.glob("label_date=*"))
    partial = day / f".partition-00000-{4:020d}-{8:020d}.parquet.{os.getpid()}.partial"
    partial.write_bytes(b"PAR1 and no more")
    LabelWriter(tmp_path)
    assert not partial.exists() and all_of(tmp_path) == ids((0, 0, 4))


def test_days_are_those_of_labelling(tmp_path: Path, example, soft_label) -> None:
    writer = LabelWriter(tmp_path)
    for offset, day in enumerate((0, 0, 1, 0)):
        writer.add(0, offset, encode(soft_label(example(offset), {"a": 1.0}, labelled_ms=day * DAY_MS + 5)))
    writer.flush()
    files = label_files.files_of(tmp_path)
    assert [(file.date, file.first, file.last) for file in files] == [("1970-01-01", 0, 3), ("1970-01-02", 2, 2)]
    assert all_of(tmp_path) == ["x0", "x1", "x2", "x3"]


def test_what_is_no_label_is_passed_by_and_counted(tmp_path: Path, fill: Fill) -> None:
    writer = LabelWriter(tmp_path)
    fill(writer, 0, 2)
    writer.add(0, 2, b"\xff nonsense")
    writer.add(0, 3, None)
    fill(writer, 4, 5)
    writer.flush()
    assert writer.unreadable == 2 and writer.offsets == {0: 5}
    assert all_of(tmp_path) == ["x0.0", "x0.1", "x0.4"]
    writer.add(0, 5, b"")
    assert writer.flush() == 0 and label_files.read_offsets(tmp_path) == {0: 6}, "nor is it read again"


def test_there_is_one_writer(tmp_path: Path) -> None:
    first = LabelWriter(tmp_path)
    with pytest.raises(SourceError, match="another process writes the labels"):
        LabelWriter(tmp_path)
    first.close()
    LabelWriter(tmp_path)


def test_labels_without_their_offsets_are_not_guessed_at(tmp_path: Path, fill: Fill) -> None:
    writer = LabelWriter(tmp_path)
    fill(writer, 0, 2)
    writer.flush()
    writer.close()
    (tmp_path / label_files.OFFSETS).unlink()
    with pytest.raises(SourceError, match="holds labels but no offsets.json"):
        LabelWriter(tmp_path)
    assert all_of(tmp_path) == ids((0, 0, 2)), "nothing was removed"
