from __future__ import annotations

import asyncio

from streamer.example_stream import MicroBatchSize, soon_after


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


async def test_work_follows_what_has_happened_and_comes_without_a_reason_too() -> None:
    happened, leaving, done = asyncio.Event(), asyncio.Event(), asyncio.Queue[bool]()

    async def work() -> None:
        done.put_nowait(happened.is_set())
        if done.qsize() == 1:
            raise RuntimeError("one round goes wrong")

    following = asyncio.create_task(soon_after(happened, work, leaving, wait_seconds=3_600))
    for _ in range(2):
        happened.set()
        assert await asyncio.wait_for(done.get(), 5) is False, "cleared before the work, so that nothing is missed"
    leaving.set(), happened.set()
    await asyncio.wait_for(following, 5)
    assert done.empty(), "who leaves does the rest in its own order"

    leaving.clear(), happened.clear()
    waiting = asyncio.create_task(soon_after(happened, work, leaving, wait_seconds=0.01))
    await asyncio.wait_for(done.get(), 5)
    await asyncio.wait_for(done.get(), 5)
    waiting.cancel()
