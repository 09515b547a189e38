from __future__ import annotations

import numpy as np
import pytest

from streamer.drift.cusum import Cusum, limit_of


def first_alarm(detector: Cusum, values: np.ndarray) -> int | None:
    return next((place for place, value in enumerate(values.tolist()) if detector.update(value)), None)


def coins(draw: np.random.Generator, chance: float, number: int) -> np.ndarray:
    return (draw.random(number) < chance).astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_rare_ones_that_stay_as_rare_alarm_nobody(seed: int) -> None:
    assert first_alarm(Cusum(1e-6), coins(np.random.default_rng(seed), 0.1, 20_000)) is None


@pytest.mark.parametrize("seed", range(4))
def test_ones_that_become_commoner_are_noticed(seed: int) -> None:
    draw, detector = np.random.default_rng(seed), Cusum(1e-6)
    assert first_alarm(detector, coins(draw, 0.1, 3_000)) is None
    assert first_alarm(detector, coins(draw, 0.25, 1_000)) is not None


def test_a_larger_shift_is_noticed_sooner() -> None:
    def delay(shift: float) -> int:
        draw, detector = np.random.default_rng(1), Cusum(1e-6)
        assert first_alarm(detector, draw.normal(0, 1, 3_000)) is None
        found = first_alarm(detector, draw.normal(shift, 1, 5_000))
        assert found is not None
        return found

    assert delay(1.0) < delay(0.4)


def test_a_fall_is_no_alarm_and_becomes_the_reference() -> None:
    draw, detector = np.random.default_rng(2), Cusum(1e-4, reference=50)
    assert first_alarm(detector, draw.normal(0, 1, 2_000)) is None
    assert first_alarm(detector, draw.normal(-1, 1, 2_000)) is None
    assert first_alarm(detector, draw.normal(0, 1, 1_000)) is not None, "back to what was, which is a rise by now"


def test_what_is_under_suspicion_does_not_become_the_reference() -> None:
    draw, detector = np.random.default_rng(3), Cusum(1e-30)
    first_alarm(detector, draw.normal(0, 1, 2_000))
    assert not detector.suspicious
    limit, detector.limit = detector.limit, np.inf
    first_alarm(detector, draw.normal(0.5, 1, 1_500))
    halfway = detector.total
    first_alarm(detector, draw.normal(0.5, 1, 1_500))
    detector.limit = limit
    assert detector.suspicious and detector.total > 1.6 * halfway, "the second half counts as much as the first"


def test_a_stream_without_variation_is_no_division_by_zero() -> None:
    assert first_alarm(Cusum(1e-4), np.zeros(1_000)) is None


def test_the_limit_grows_with_the_time_between_false_alarms_and_shrinks_with_the_shift() -> None:
    assert limit_of(1e-3, 0.5) < limit_of(1e-6, 0.5) and limit_of(1e-4, 0.9) < limit_of(1e-4, 0.3)


def test_false_alarms_are_as_rare_as_the_formula_says() -> None:
    """Once the reference is known well, 1 / delta steps lie between two; here a quarter of that finds few."""
    delta, alarms = 1e-2, 0
    for seed in range(40):
        draw, detector = np.random.default_rng(seed), Cusum(delta, block=4, least_shift=0.5, reference=2_000)
        for value in draw.normal(0, 1, 2_000).tolist():
            detector.update(value)
            detector.total = 0.0  # learn the reference, without alarms
        alarms += first_alarm(detector, draw.normal(0, 1, 100)) is not None
    assert alarms / 40 < 2 * 25 * delta
