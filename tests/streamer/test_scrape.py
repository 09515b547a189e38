from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streamer.scrape import Scrape


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def scrape(registry: CollectorRegistry) -> Scrape:
    return Scrape.parse(generate_latest(registry).decode())


def test_counters_and_gauges_by_label(registry: CollectorRegistry) -> None:
    letters = Counter("letters", "…", ["reason", "topic"], registry=registry)
    letters.labels(reason="too_large", topic="events").inc(2)
    letters.labels(reason="too_large", topic="items").inc()
    letters.labels(reason='odd "one"\n', topic="items").inc(4)
    Gauge("lag", "…", registry=registry).set(-1.5)
    page = scrape(registry)
    assert page.total("letters_total") == 7 and page.total("letters_total", reason="too_large") == 3
    assert page.total("letters_total", reason="too_large", topic="items") == 1
    assert page.total("letters_total", topic="nowhere") == page.total("nothing_total") == 0
    assert page.by("letters_total", "reason") == {"too_large": 3, 'odd "one"\n': 4}
    assert page.total("lag") == -1.5


def test_quantiles_lie_inside_their_bucket(registry: CollectorRegistry) -> None:
    seconds = Histogram("seconds", "…", buckets=(1, 2, 4), registry=registry)
    assert scrape(registry).quantile("seconds", 0.5) is None, "nothing is not 0"
    for value in (0.5, 1.5, 1.6, 3.0):
        seconds.observe(value)
    page = scrape(registry)
    assert page.quantile("seconds", 0.25) == 1.0  # the first of four ends at the first bound
    assert page.quantile("seconds", 0.5) == pytest.approx(1.5)  # the second of the two between 1 and 2 ends at 2
    assert page.quantile("seconds", 1.0) == 4.0
    assert page.quantile("absent", 0.5) is None


def test_past_the_last_bound_the_bound_is_all_that_is_known(registry: CollectorRegistry) -> None:
    seconds = Histogram("seconds", "…", buckets=(1, 2), registry=registry)
    seconds.observe(100)
    assert scrape(registry).quantile("seconds", 0.95) == 2


def test_labelled_histograms_add_up_or_are_picked(registry: CollectorRegistry) -> None:
    seconds = Histogram("seconds", "…", ["stage"], buckets=(1, 2), registry=registry)
    seconds.labels(stage="rank").observe(0.5)
    seconds.labels(stage="read").observe(1.5)
    page = scrape(registry)
    assert page.quantile("seconds", 1.0, stage="rank") == 1 and page.quantile("seconds", 1.0) == 2
