"""A source that asks another system never holds up a list."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from exporters.asks import RankAsk, RecommendAsk
from exporters.ranking import RankingPath
from exporters.side_sources import SideSources

NOW_MS = 1_700_000_000_000


def left_out(why: str) -> float:
    labels = {"source": "foundation", "why": why}
    return REGISTRY.get_sample_value("headwater_serving_sources_left_out_total", labels) or 0.0


@pytest.fixture
def hung():
    """A source that answers only once the test is over."""
    free = threading.Event()
    yield lambda user_id: [str(free.wait(20))]
    free.set()


def test_a_late_source_is_left_out_and_counted(services, hung):
    limits = replace(services.limits, sources_ms=20.0)
    path = RankingPath(replace(services, known_of=hung, limits=limits))
    before = left_out("late")
    slate = path.rank(RecommendAsk(user_id="u", count=5), NOW_MS)
    plain = RankingPath(services).rank(RecommendAsk(user_id="u", count=5), NOW_MS)
    assert slate.item_ids == plain.item_ids and not slate.fallback
    assert left_out("late") == before + 1


def test_a_late_source_that_is_asked_again_says_the_same_and_is_counted_once(hung):
    sources, before = SideSources(), left_out("late")
    pending = sources.ask("foundation", lambda: hung("u"))
    assert pending.take(time.perf_counter()) == pending.take(time.perf_counter()) == ()
    assert left_out("late") == before + 1
    sources.close()


def test_a_source_that_fails_is_left_out_and_counted(services):
    def broken(user_id):
        raise ConnectionError("no store")

    before = left_out("failed")
    slate = RankingPath(replace(services, known_of=broken)).rank(RecommendAsk(user_id="u", count=5), NOW_MS)
    assert len(slate.item_ids) == 5 and not slate.fallback and left_out("failed") == before + 1


def test_a_source_that_hangs_piles_up_no_work(services, hung):
    limits = replace(services.limits, sources_ms=0.01)
    path = RankingPath(replace(services, known_of=hung, limits=limits))
    before = left_out("busy"), left_out("late")
    for _ in range(200):
        assert path.rank(RecommendAsk(user_id="u", count=1), NOW_MS).item_ids
    assert left_out("busy") + left_out("late") == sum(before) + 200


def test_nobody_is_asked_where_candidates_are_given_or_there_is_no_version(services):
    def never(user_id):
        raise AssertionError("asked")

    before = left_out("failed")
    path = RankingPath(replace(services, known_of=never))
    path.rank(RankAsk(user_id="u", candidates=["m1"]), NOW_MS)
    path.rank(RecommendAsk(user_id="u", allow=["m1"]), NOW_MS)
    RankingPath(replace(services, known_of=never, knows=lambda: False)).rank(RecommendAsk(user_id="u"), NOW_MS)
    assert left_out("failed") == before


def test_after_the_end_nothing_is_asked():
    sources = SideSources()
    sources.close()
    assert sources.ask("foundation", lambda: ["a"]).take(time.perf_counter() + 1) == ()
