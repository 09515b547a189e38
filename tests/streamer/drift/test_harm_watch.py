from __future__ import annotations

import math

import numpy as np

from streamer.drift.harm_watch import HarmWatch


def test_a_learner_that_is_better_or_as_good_never_alarms() -> None:
    for gain in (0.0, 0.3):
        watch, draw = HarmWatch(1e-6), np.random.default_rng(1)
        assert not any(watch.update(value) for value in draw.normal(-gain, 1.0, 20_000))


def test_a_learner_that_gets_worse_alarms_with_both_sides() -> None:
    watch, draw = HarmWatch(1e-6), np.random.default_rng(2)
    assert not any(watch.update(value) for value in draw.normal(-0.1, 0.5, 1_000))
    shift = next(shift for value in draw.normal(0.5, 0.5, 1_000) if (shift := watch.update(value)))
    assert shift.before.mean < 0 < 0.4 < shift.after.mean and shift.length < 300


def test_a_new_copy_begins_anew() -> None:
    watch = HarmWatch(1e-6)
    for _ in range(30):
        assert watch.update(0.8) is None
    watch.restart()
    assert math.isnan(watch.recent()[0]) and watch.update(0.8) is None
