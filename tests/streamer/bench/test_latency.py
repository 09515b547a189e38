from __future__ import annotations

import numpy as np

from streamer.bench.latency import histogram, summary


def test_quantiles_are_values_that_were_seen() -> None:
    values = np.random.default_rng(1).permutation(np.arange(1.0, 1001.0))
    assert summary(values) == {"p50_ms": 500.0, "p90_ms": 900.0, "p99_ms": 990.0, "max_ms": 1000.0}


def test_a_single_value_is_every_quantile() -> None:
    assert set(summary([7.0]).values()) == {7.0}


def test_the_histogram_counts_everything_once_and_below_its_bound() -> None:
    values = np.random.default_rng(2).lognormal(1, 2, 5_000)
    counts = histogram(values)
    assert sum(counts.values()) == len(values)
    for bound in (1.0, 4.0, 64.0):
        below = sum(count for name, count in counts.items() if float(name) <= bound)
        assert below == int((values <= bound).sum())
    assert histogram([]) == {}
