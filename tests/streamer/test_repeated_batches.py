from __future__ import annotations

from typing import Any

from streamer.repeated_batches import Given, RepeatedBatches
from streamer.soft_labels import UNTOLD
from streamer.teacher_labels import Received


def received(*places: tuple[int, int]) -> list[Received]:
    made: Any = None  # nothing of the example itself is read
    return [Received(partition, offset, made) for partition, offset in places]


def places(batches: list[list[Received]]) -> list[list[tuple[int, int]]]:
    return [[(one.partition, one.offset) for one in batch] for batch in batches]


def test_without_labels_everything_is_new_and_in_one_order() -> None:
    repeated = RepeatedBatches()
    assert repeated.over and not repeated.waiting
    assert places(repeated.arrange(received((1, 4), (0, 7), (0, 8)))) == [[(0, 7), (0, 8), (1, 4)]]
    assert repeated.arrange([]) == []


def test_micro_batches_come_back_whatever_order_the_broker_brings_them_in() -> None:
    given = [Given(8, 0, 3), Given(8, 1, 5), Given(10, 0, 4), Given(11, 1, 6)]
    repeated = RepeatedBatches(given)
    assert repeated.arrange(received((0, 3), (0, 4), (0, 5))) == [] and repeated.waiting and not repeated.over
    assert places(repeated.arrange(received((1, 5)))) == [[(0, 3), (1, 5)], [(0, 4)]]
    assert repeated.waiting, "a new one waits for what was labelled before it"
    assert places(repeated.arrange(received((1, 6), (1, 7)))) == [[(1, 6)], [(0, 5), (1, 7)]]
    assert repeated.over and not repeated.waiting


def test_what_does_not_come_again_is_not_waited_for() -> None:
    repeated = RepeatedBatches([Given(8, 0, 3), Given(8, 0, 4), Given(10, 0, 5)])
    assert places(repeated.arrange(received((0, 4), (0, 5), (0, 6)))) == [[(0, 4)], [(0, 5)], [(0, 6)]]
    assert repeated.over


def test_not_for_ever_either_where_its_partition_is_silent() -> None:
    repeated = RepeatedBatches([Given(8, 0, 3), Given(8, 1, 9)], most_waiting=2)
    assert repeated.arrange(received((0, 3), (0, 4), (0, 5))) == []
    assert places(repeated.arrange(received((0, 6)))) == [[(0, 3)], [(0, 4), (0, 5), (0, 6)]]
    assert repeated.over and not repeated.waiting


def test_labels_that_do_not_say_when_they_were_given_put_nothing_together() -> None:
    assert RepeatedBatches([Given(UNTOLD, 0, 0)]).over
