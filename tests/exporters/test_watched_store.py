from __future__ import annotations

import pytest

from exporters.errors import StoreUnavailable
from exporters.twins import MemorySessions
from exporters.watched_store import WatchedStore


class Flaky:
    """A store that can be gone, or slow."""

    def __init__(self):
        self.inner, self.error, self.takes, self.reads, self.now = MemorySessions(), None, 0.0, 0, 0.0

    def read(self, user_id, now_ms):
        self.reads += 1
        self.now += self.takes
        if self.error is not None:
            raise self.error
        return self.inner.read(user_id, now_ms)


@pytest.fixture
def flaky():
    return Flaky()


@pytest.fixture
def watched(flaky):
    return WatchedStore(flaky, failures=3, slow_ms=lambda: 100.0, clock=lambda: flaky.now)


def _fail(watched, times):
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            watched.read("u", 0)


def test_a_store_that_answers_is_read_through(watched, flaky):
    assert watched.read("u", 0).user_id == "u" and watched.gone is None and flaky.reads == 1


def test_after_some_failures_nobody_waits_for_it_until_a_probe_finds_it_back(watched, flaky):
    flaky.error = ConnectionError("refused")
    _fail(watched, 2)
    assert watched.gone is None
    _fail(watched, 1)
    assert "refused" in watched.gone
    _fail(watched, 50)
    assert flaky.reads == 3, "while it is gone it is not asked"
    assert "refused" in watched.probe() and flaky.reads == 4
    flaky.error = None
    _fail(watched, 1)
    assert watched.probe() is None and watched.gone is None
    assert watched.read("u", 0).user_id == "u"


def test_slow_reads_are_answered_but_count(watched, flaky):
    flaky.takes = 0.5
    assert [watched.read("u", 0).user_id for _ in range(3)] == ["u"] * 3
    assert "500 ms" in watched.gone
    _fail(watched, 1)
    flaky.takes = 0.01
    assert watched.probe() is None


def test_one_good_read_between_forgives(watched, flaky):
    for _ in range(5):
        flaky.error = TimeoutError("slow")
        _fail(watched, 2)
        flaky.error = None
        watched.read("u", 0)
    assert watched.gone is None
    assert watched.probe() is None and flaky.reads == 15, "a store that is there is not probed"
