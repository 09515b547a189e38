"""The window on disk: bounded, the same after a resume, without what has left the catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.batch import PADDING, UNKNOWN
from online_models.checks import example_batch
from streamer.errors import SettingsError
from streamer.flat_batches import flat
from streamer.training_window import Lesson, TrainingWindow, WindowView, path_of


def lesson(seed: int, examples: int = 8, candidates: int = 6) -> Lesson:
    batch = example_batch(seed=seed, examples=examples, candidates=candidates)
    return Lesson(batch, torch.full((examples,), float(seed)), torch.arange(examples) / 4)


@pytest.fixture
def window(tmp_path: Path) -> TrainingWindow:
    return TrainingWindow(tmp_path / "window", most_examples=64, segment_examples=16)


def seeds(view: WindowView) -> list[int]:
    """Seeds of the lessons that the window holds, by what they say of satisfaction."""
    return sorted({int(value) for one in view.lessons() for value in one.satisfied})


def test_a_full_segment_is_written_and_read_back(window: TrainingWindow) -> None:
    made = [lesson(1, candidates=4), lesson(2, candidates=7)]
    for one in made:
        window.append(one)
    (read,) = window.view().lessons()
    assert len(window) == len(read) == 16 and read.batch.labels.shape == (16, 7)
    assert torch.equal(read.batch.candidates.items[:8, :4], made[0].batch.candidates.items)
    assert not read.batch.candidates.mask[:8, 4:].any()
    assert torch.equal(read.batch.context.history_items[8:], made[1].batch.context.history_items)
    assert read.satisfied.tolist() == [1.0] * 8 + [2.0] * 8


def test_a_window_of_less_than_two_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least 32"):
        TrainingWindow(tmp_path, most_examples=31, segment_examples=16)


def test_it_is_bounded_and_the_oldest_leave(window: TrainingWindow) -> None:
    for seed in range(40):
        window.append(lesson(seed))
        assert len(window) <= 64
    window.sweep()
    assert seeds(window.view()) == list(range(32, 40))
    assert len(list(window.directory.iterdir())) == 4


def test_files_live_as_long_as_one_of_the_last_snapshots_names_them(window: TrainingWindow) -> None:
    for seed in range(8):
        window.append(lesson(seed))
    window.sweep()
    states = [window.state_dict()]
    for seed in range(8, 16):
        window.append(lesson(seed))
    window.sweep()
    assert path_of(window.directory, 1).exists(), "a restart may need the snapshot before the last"
    window.load_state_dict(states[0])
    assert seeds(window.view()) == list(range(8))


def test_it_is_the_same_after_a_resume(window: TrainingWindow) -> None:
    for seed in range(5):
        window.append(lesson(seed))
    tensors, structure = state_tree.pack(window.state_dict())
    window.append(lesson(5))  # a segment that no snapshot names
    again = TrainingWindow(window.directory, 64, 16)
    again.load_state_dict(state_tree.unpack(tensors, structure))
    assert len(again) == 40 and not path_of(window.directory, 3).exists()
    window.load_state_dict(state_tree.unpack(tensors, structure))
    for one in (window, again):
        one.append(lesson(5))
    for left, right in zip(window.view().lessons(), again.view().lessons(), strict=True):
        assert state_tree.equal(flat(left.batch), flat(right.batch))
        assert torch.equal(left.satisfied, right.satisfied)


def test_the_newest_part_is_held_out(window: TrainingWindow) -> None:
    for seed in range(8):
        window.append(lesson(seed))
    training, held_out = window.view().split(0.1)
    assert seeds(training) == [0, 1, 2, 3, 4, 5] and seeds(held_out) == [6, 7]
    training, held_out = window.view().split(0.5)
    assert seeds(training) == [0, 1, 2, 3] and seeds(held_out) == [4, 5, 6, 7]


def test_rows_that_have_lost_their_item_are_blanked_in_what_is_older(window: TrainingWindow) -> None:
    made = [lesson(seed) for seed in range(4)]
    gone = int(made[0].batch.candidates.items[0, 0])
    for one in made[:3]:  # one and a half segments
        window.append(one)
    window.forget(np.array([gone]))
    window.append(made[3])  # the row may have a new item by now
    first, second = window.view().lessons()
    assert not (first.batch.candidates.items == gone).any() and not (first.batch.context.history_items == gone).any()
    assert first.batch.candidates.items[0, 0] == PADDING and first.batch.labels[0, 0] == 0
    assert not (second.batch.candidates.items[:8] == gone).any()
    assert torch.equal(second.batch.candidates.items[8:], made[3].batch.candidates.items)
    read = made[0].batch.context.history_items == gone
    assert (first.batch.context.history_items[:8][read] == UNKNOWN).all()


def test_what_has_left_meanwhile_or_is_damaged_is_passed_by(window: TrainingWindow, caplog) -> None:
    for seed in range(6):
        window.append(lesson(seed))
    view = window.view()
    path_of(window.directory, 1).unlink()
    path = path_of(window.directory, 2)
    path.write_bytes(path.read_bytes()[:-20])
    assert seeds(view) == [4, 5]
    assert "left out" in caplog.text
