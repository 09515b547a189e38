from __future__ import annotations

import numpy as np
import pytest

from streamer.drift.detectors import MAKERS
from streamer.drift.e_detector import EDetector


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_each_notices_a_rise_of_its_standardised_values(name: str) -> None:
    draw, detector = np.random.default_rng(1), MAKERS[name](1e-6)
    quiet = [detector.update(value) for value in draw.normal(0, 1, 600)]
    moved = [detector.update(value) for value in draw.normal(2, 1, 600)]
    assert not any(quiet) and any(moved)


def test_values_far_out_do_not_upset_adwin() -> None:
    detector = MAKERS["adwin"](0.002)
    assert not any(detector.update(value) for value in [0.0] * 200 + [1e9] + [0.0] * 200)


class TestEDetector:
    def test_its_false_alarms_are_as_rare_as_it_says(self) -> None:
        alpha, seeds, length = 1e-3, 100, 100
        early = 0
        for seed in range(seeds):  # fair coins, whose mean is just zero
            detector = EDetector(alpha)
            early += any(detector.update(value) for value in np.random.default_rng(seed).choice([-1.0, 1.0], length))
        assert early / seeds <= 2 * alpha * length, "an average run of 1 / alpha leaves no room for more"

    def test_a_small_rise_takes_longer_than_a_large_one_and_both_are_found(self) -> None:
        def delay(rise: float) -> int:
            detector, draw = EDetector(1e-6), np.random.default_rng(2)
            return next(n for n in range(20_000) if detector.update(float(draw.normal(rise, 0.3))))

        assert delay(0.5) < delay(0.05) < 19_000

    def test_what_comes_after_a_long_good_time_is_found_as_fast(self) -> None:
        fresh, tired = EDetector(1e-6), EDetector(1e-6)
        for _ in range(5_000):
            tired.update(-1.0)
        delays = [next(n for n in range(1_000) if one.update(0.6)) for one in (fresh, tired)]
        assert delays[0] == delays[1]

    def test_since_points_to_the_beginning_of_the_rise(self) -> None:
        detector = EDetector(1e-6)
        for _ in range(300):
            detector.update(-0.5)
        risen = next(n for n in range(1, 1_000) if detector.update(0.8))
        assert detector.since == risen
