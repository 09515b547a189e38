from __future__ import annotations

import numpy as np

from streamer.vector_guard import VectorGuard

IDS = [None, None, "a", "b"]


def test_what_went_out_while_a_version_was_judged_is_not_covered_by_it():
    guard = VectorGuard()
    guard.sent([2])
    mark = guard.mark()
    guard.sent([3])
    guard.passed(np.zeros((4, 2), np.float32), IDS, mark)
    assert guard.refused() == [3] and guard.refused() == []


def test_nothing_is_held_until_a_refusal_and_again_after_a_pass():
    guard = VectorGuard()
    assert not guard.holding
    guard.refused()
    assert guard.holding
    guard.passed(np.ones((4, 2), np.float32), IDS, guard.mark())
    assert not guard.holding and guard.vector(2, "a", 2).tolist() == [1, 1]


def test_an_item_that_the_last_good_version_did_not_know_there_has_no_vector():
    guard = VectorGuard()
    assert guard.vector(2, "a", 2).tolist() == [0, 0]
    guard.passed(np.ones((4, 2), np.float32), IDS, guard.mark())
    assert guard.vector(2, "b", 2).tolist() == guard.vector(9, "z", 2).tolist() == [0, 0]
