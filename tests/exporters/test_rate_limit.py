from __future__ import annotations

import pytest

from exporters.rate_limit import Rate, RateLimit


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_burst_is_let_through_and_then_the_rate_counts(clock):
    limit = RateLimit(Rate(per_second=10, burst=5), clock=clock)
    assert [limit.wait_seconds("a") for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(0.1)]
    clock.now += 0.05
    assert limit.wait_seconds("a") == pytest.approx(0.05), "a refused request takes no token"
    clock.now += 0.051
    assert limit.wait_seconds("a") == 0


def test_over_a_long_time_no_more_than_the_rate_passes(clock):
    limit, passed = RateLimit(Rate(per_second=7, burst=3), clock=clock), 0
    for _ in range(10_000):
        clock.now += 0.01
        passed += limit.wait_seconds("a") == 0
    assert 700 - 2 <= passed <= 700 + 3


def test_callers_do_not_take_from_each_other_and_old_ones_make_room(clock):
    limit = RateLimit(Rate(per_second=1, burst=1), callers=2, clock=clock)
    assert [limit.wait_seconds(name) for name in ("a", "b")] == [0, 0]
    assert limit.wait_seconds("a") > 0
    assert limit.wait_seconds("c") == 0  # b's bucket makes room
    assert limit.wait_seconds("a") > 0 and limit.wait_seconds("b") == 0


def test_a_rate_of_0_is_no_limit_and_a_new_rate_counts_at_once(clock):
    limit = RateLimit(clock=clock)
    assert {limit.wait_seconds("a") for _ in range(1_000)} == {0.0}
    limit.rate = Rate(per_second=1, burst=1)
    assert limit.wait_seconds("a") == 0 and limit.wait_seconds("a") == 1.0


def test_a_clock_that_stands_still_gives_nothing(clock):
    limit = RateLimit(Rate(per_second=1_000, burst=2), clock=clock)
    assert [limit.wait_seconds("a") > 0 for _ in range(4)] == [False, False, True, True]
