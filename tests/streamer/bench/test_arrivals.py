from __future__ import annotations

import numpy as np
import pytest

from streamer.bench.arrivals import PROCESSES, constant, poisson


def test_poisson_gaps_are_memoryless() -> None:
    gaps = np.diff(poisson(200, 200, seed=3))
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as for an exponential, and for no even process


def test_a_seed_gives_the_same_arrivals_and_another_gives_others() -> None:
    assert np.array_equal(poisson(50, 5, 1), poisson(50, 5, 1))
    assert not np.array_equal(poisson(50, 5, 1)[:10], poisson(50, 5, 2)[:10])


def test_constant_arrivals_have_one_gap() -> None:
    assert np.allclose(np.diff(constant(80, 2)), 1 / 80) and len(constant(80, 2)) == 160


@pytest.mark.parametrize("name", PROCESSES)
def test_arrivals_lie_within_the_run(name: str) -> None:
    times = PROCESSES[name](30, 4, 5)
    assert times.min() >= 0 and times.max() < 4
