from __future__ import annotations

import asyncio

from exporters.lifecycle import Grace, Lifecycle

QUICK = Grace(lame_duck_seconds=0.02, refuse_seconds=0.0, drain_seconds=0.05)


async def test_readiness_goes_first_then_new_requests_then_the_wait_for_the_others():
    lifecycle = Lifecycle()
    lifecycle.entered()
    draining = asyncio.create_task(lifecycle.drain(Grace(lame_duck_seconds=0.02, refuse_seconds=0, drain_seconds=5)))
    await asyncio.sleep(0)
    assert (lifecycle.leaving, lifecycle.refusing) == (True, False)
    await asyncio.sleep(0.04)
    assert lifecycle.refusing and not draining.done()
    lifecycle.left()
    assert await draining == 0


async def test_what_never_ends_is_left_after_its_time():
    lifecycle = Lifecycle()
    lifecycle.entered()
    lifecycle.entered()
    lifecycle.left()
    assert await lifecycle.drain(QUICK) == 1


async def test_an_idle_server_still_refuses_for_a_while():
    lifecycle = Lifecycle()
    grace = Grace(lame_duck_seconds=0, refuse_seconds=0.05, drain_seconds=1)
    draining = asyncio.create_task(lifecycle.drain(grace))
    await asyncio.sleep(0.01)
    assert lifecycle.refusing and not draining.done()
    assert await draining == 0
