"""The metrics of worker and trainer are served, named with units and separate the latencies that are promised."""

from __future__ import annotations

import re
import socket
import urllib.request

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from streamer import metrics

EVERY = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_started_port_serves_what_was_counted() -> None:
    port = metrics.start(0, "127.0.0.1")
    metrics.DEAD_LETTERS.labels(reason="test_reason").inc(3)
    metrics.SESSION_VISIBLE_SECONDS.observe(0.04)
    page = scrape(port)
    assert 'headwater_dead_letters_total{reason="test_reason"} 3.0' in page
    assert re.search(r'headwater_session_visible_seconds_bucket\{le="0.05"\} [1-9]', page)


def test_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        metrics.start(taken.getsockname()[1], "127.0.0.1")


@pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY.keys())
def test_name_has_prefix_and_help(metric: MetricWrapperBase) -> None:
    described = next(iter(metric.describe()))
    assert described.name.startswith("headwater_")
    assert described.documentation.endswith(".")


@pytest.mark.parametrize("metric", [m for m in EVERY.values() if isinstance(m, Gauge | Histogram)])
def test_gauges_and_histograms_carry_their_unit(metric: Gauge | Histogram) -> None:
    name = next(iter(metric.describe())).name
    units = (
        "_seconds",
        "_messages",
        "_partitions",
        "_examples",
        "_ratio",
        "_logits",
        "_files",
        "_users",
        "_items",
        "_info",
        "_loss",
        "_norm",
        "_steps",
        "_spikes",
        "_number",
        "_value",
    )
    assert name.endswith(units), name


def test_buckets_separate_the_goals() -> None:
    bounds = metrics.LATENCY_BUCKETS_SECONDS
    assert list(bounds) == sorted(set(bounds))
    assert {0.05, 0.1, 1.0, 10.0} <= set(bounds)


def test_counters_are_told_apart_from_gauges() -> None:
    counters = {name for name, metric in EVERY.items() if isinstance(metric, Counter)}
    assert {"EVENTS_CONSUMED", "DEAD_LETTERS", "DUPLICATES", "LATE", "EXAMPLES_LEARNED"} <= counters
