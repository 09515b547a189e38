from __future__ import annotations

from typing import Any

import numpy as np

from streamer.settings import Settings
from streamer.student import Student


def run_tested(settings: Settings, made: list[Any]) -> Student:
    student = Student(settings)
    student.tested_every = 1
    for first in range(0, len(made), 3):
        student.learn(made[first : first + 3])
    return student


def test_small_batches_of_a_quiet_stream_add_up(small_settings: Settings, walk) -> None:
    student = run_tested(small_settings, walk(60))
    recent = student.recent()
    assert recent is not None and len(recent.labels) == 60
    assert {len(value) for value in (*recent.feeds.values(), *recent.rows.values())} == {60}
    assert set(recent.feeds) == set(student.network.ranker.graphs()["rank"].inputs)


def test_the_window_is_bounded_and_keeps_the_latest(small_settings: Settings, walk) -> None:
    student = Student(small_settings)
    student._recent._examples = 20
    student.tested_every = 1
    made = walk(60)
    for first in range(0, 60, 6):
        student.learn(made[first : first + 6])
    assert 20 <= len(student.recent().labels) < 26


def test_vectors_are_gathered_as_they_are_now(small_settings: Settings, walk) -> None:
    student = run_tested(small_settings, walk(30))
    recent = student.recent()
    vectors = student.network.ranker.items.weight.detach().numpy()
    rows = recent.rows["candidate_vectors"]
    assert np.array_equal(recent.feeds["candidate_vectors"], vectors[rows])
    assert np.array_equal(recent.feeds_with(2 * vectors)["history_vectors"], 2 * recent.feeds["history_vectors"])
    short = recent.feeds_with(vectors[:3])["candidate_vectors"]
    assert not short[rows >= 3].any(), "a version has no vector of an item that came after it"


def test_nothing_was_tested_yet(small_settings: Settings) -> None:
    assert Student(small_settings).recent() is None
