from __future__ import annotations

from streamer.effects import Record
from streamer.gaps import PATIENCE_SECONDS, GapGuard


def at(*offsets: int) -> list[Record]:
    return [Record(offset, 0, None, None) for offset in offsets]


def test_what_follows_passes_and_what_is_applied_is_dropped() -> None:
    assert GapGuard().check(4, at(3, 4, 5, 6)) == (at(5, 6), None)
    assert GapGuard().check(4, at(3, 4)) == ([], None)


def test_a_fresh_state_begins_anywhere() -> None:
    assert GapGuard().check(-1, at(70, 71)) == (at(70, 71), None)


def test_a_skip_is_read_again_and_nothing_is_lost() -> None:
    guard = GapGuard()
    assert guard.check(4, at(8, 9)) == ([], 5)
    assert guard.check(4, at(10, 11)) == ([], None)  # still in a buffer
    assert guard.check(4, at(5, 6, 7, 8)) == (at(5, 6, 7, 8), None)
    assert guard.check(8, at(9, 10)) == (at(9, 10), None)


def test_a_gap_of_the_broker_is_accepted_on_the_second_reading() -> None:
    guard = GapGuard()
    assert guard.check(4, at(8, 9)) == ([], 5)
    assert guard.check(4, at(8, 9)) == (at(8, 9), None)
    assert guard.check(9, at(12)) == ([], 10)  # the next gap is looked at again


def test_a_second_reading_that_does_not_come_is_asked_for_again() -> None:
    now = [0.0]
    guard = GapGuard(clock=lambda: now[0])
    assert guard.check(4, at(8, 9)) == ([], 5)
    now[0] = PATIENCE_SECONDS - 0.1
    assert guard.check(4, at(10)) == ([], None)
    now[0] = PATIENCE_SECONDS + 0.1
    assert guard.check(4, at(11)) == ([], 5)
    assert guard.check(4, at(12)) == ([], None), "patience begins anew"
    assert guard.check(4, at(5, 6, 7, 8)) == (at(5, 6, 7, 8), None)


def test_the_second_reading_may_come_behind_what_was_left_in_the_buffer() -> None:
    guard = GapGuard()
    assert guard.check(4, at(8, 9)) == ([], 5)
    assert guard.check(4, at(10, 11, 5, 6, 7)) == (at(5, 6, 7), None)
    assert guard.check(7, at(8, 9, 10, 11, 12)) == (at(8, 9, 10, 11, 12), None)


def test_a_gap_inside_a_batch_is_read_again_and_what_came_before_it_is_kept() -> None:
    guard = GapGuard()
    assert guard.check(4, at(5, 6, 9, 10)) == (at(5, 6), 7)
    assert guard.check(6, at(7, 8, 9, 10)) == (at(7, 8, 9, 10), None)
    assert guard.check(10, at(11, 11, 12)) == (at(11, 12), None), "a repetition is no gap"
