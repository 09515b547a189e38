from __future__ import annotations

import numpy as np
import pytest

from streamer.drift.mean_watch import MeanWatch, Shift, Strictness, change_point

STRICT = Strictness(warm_up=500, confirm=128)


def shifts(watch: MeanWatch, values: np.ndarray) -> list[tuple[int, Shift]]:
    return [(place, shift) for place, value in enumerate(values.tolist()) if (shift := watch.update(value))]


def bursts(draw: np.random.Generator, number: int, length: int = 20) -> np.ndarray:
    """Neighbours that resemble each other, as the events of one visit do."""
    return np.repeat(draw.normal(0, 1, number // length), length) + draw.normal(0, 0.3, number // length * length)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["noise", "bursts"])
def test_a_stream_without_drift_alarms_nobody(seed: int, kind: str) -> None:
    draw, watch = np.random.default_rng(seed), MeanWatch("adwin", STRICT, direction=0)
    values = draw.normal(5, 2, 20_000) if kind == "noise" else bursts(draw, 20_000)
    assert shifts(watch, values) == []


@pytest.mark.parametrize("detector", ["adwin", "page-hinkley", "kswin"])
def test_a_planted_rise_is_found_with_its_place_and_its_size(detector: str) -> None:
    draw, watch = np.random.default_rng(3), MeanWatch(detector, STRICT, direction=1)
    assert shifts(watch, draw.normal(10, 2, 2_000)) == []
    place, shift = shifts(watch, draw.normal(12, 2, 2_000))[0]
    assert abs((place + 1) - shift.length) < 60, "since when"
    assert shift.before.mean == pytest.approx(10, abs=0.5) and shift.after.mean == pytest.approx(12, abs=0.5)
    assert shift.before.deviation == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize(("direction", "change", "found"), [(1, -1, 0), (-1, -1, 1), (-1, 1, 0), (0, 1, 1), (0, -1, 1)])
def test_only_the_bad_direction_counts(direction: int, change: float, found: int) -> None:
    draw, watch = np.random.default_rng(4), MeanWatch("adwin", STRICT, direction=direction)
    values = np.concatenate([draw.normal(0, 1, 2_000), draw.normal(change, 1, 2_000)])
    assert len(shifts(watch, values)) == found


def test_a_move_that_goes_away_before_it_is_confirmed_is_dismissed() -> None:
    draw, watch = np.random.default_rng(5), MeanWatch("adwin", STRICT, direction=1)
    shifts(watch, draw.normal(0, 1, 2_000))
    burst = draw.normal(4, 1, 400)
    proposed = next(place for place, value in enumerate(burst) if watch.update(value) or watch.suspicious)
    assert shifts(watch, draw.normal(0, 1, 2_000)) == [] and watch.dismissed >= 1 and proposed < 200


def test_a_move_too_small_to_matter_is_dismissed() -> None:
    draw, watch = np.random.default_rng(6), MeanWatch("adwin", Strictness(warm_up=500, least_effect=0.5), direction=1)
    values = np.concatenate([draw.normal(0, 1, 3_000), draw.normal(0.3, 1, 5_000)])
    assert shifts(watch, values) == [] and watch.dismissed > 0


def test_the_new_level_is_the_new_reference() -> None:
    draw, watch = np.random.default_rng(7), MeanWatch("adwin", STRICT, direction=1)
    steps = np.concatenate([draw.normal(level, 1, 3_000) for level in (0, 2, 4)])
    found = shifts(watch, steps)
    assert len(found) == 2 and found[1][1].before.mean == pytest.approx(2, abs=0.5)


def test_values_kept_bring_another_watch_to_where_this_one_is() -> None:
    draw, watch, again = np.random.default_rng(8), *(MeanWatch("adwin", STRICT, direction=1) for _ in range(2))
    shifts(watch, draw.normal(0, 1, 1_500))
    again.refill(watch.values())
    risen = draw.normal(1.5, 1, 1_000)
    assert [place for place, _ in shifts(watch, risen)] == [place for place, _ in shifts(again, risen)] != []


def test_a_step_is_placed_by_its_best_fit() -> None:
    assert change_point(np.array([1.0] * 30 + [5.0] * 5)) == 30 and change_point(np.array([1.0])) == 0


def test_runs_of_one_users_values_are_no_move() -> None:
    """Users who come one after the other: the values of each resemble each other."""
    for seed in range(5):
        draw, watch = np.random.default_rng(seed), MeanWatch("cusum", STRICT, direction=1)
        assert shifts(watch, bursts(draw, 12_000, length=30)) == []


def test_a_proposal_whose_evidence_grows_is_looked_at_again() -> None:
    """A small rise is not plain after the first 64 fresh values, but after some more."""
    draw, watch = np.random.default_rng(9), MeanWatch("cusum", Strictness(confirm=32, least_t=7.0), direction=1)
    shifts(watch, draw.normal(0, 1, 3_000))
    risen, looked = draw.normal(0.6, 1, 2_000), 0
    for value in risen.tolist():
        found = watch.update(value)
        looked += watch.suspicious
        if found is not None:
            break
    assert found is not None and watch.dismissed == 0 and looked > 32


@pytest.mark.parametrize("detector", ["cusum", "adwin", "page-hinkley"])
def test_rare_hits_that_become_rarer_are_found(detector: str) -> None:
    draw, watch = np.random.default_rng(10), MeanWatch(detector, STRICT, direction=-1)
    hits = np.concatenate([draw.random(3_000) < 0.16, draw.random(3_000) < 0.06]).astype(float)
    (place, shift), *_ = shifts(watch, hits)
    assert place > 3_000 and abs(place + 1 - shift.length - 3_000) < 200
