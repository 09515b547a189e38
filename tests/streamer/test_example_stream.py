from __future__ import annotations

from streamer.example_stream import MicroBatchSize


def test_a_micro_batch_grows_with_what_waits_and_shrinks_again() -> None:
    size = MicroBatchSize(least=8, most=32)
    taken = []
    for waiting in (0, 20, 1_000, 3):
        size.follow(waiting)
        taken.append(next(held for held in range(100) if held >= size))
    assert taken == [8, 20, 32, 8]


def test_most_is_at_least_least() -> None:
    size = MicroBatchSize(least=64, most=16)
    size.follow(1_000)
    assert 64 >= size and not 63 >= size
