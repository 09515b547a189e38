from __future__ import annotations

import random

from streamer.teacher_drift import DriftWatch


def noise(mean: float, count: int, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(mean, 0.5) for _ in range(count)]


def test_a_rise_asks_and_a_fall_does_not() -> None:
    steady, rising, falling = DriftWatch(0.002), DriftWatch(0.002), DriftWatch(0.002)
    for watch in (steady, rising, falling):
        assert not watch.observe(noise(3.0, 1_000))
    assert not steady.observe(noise(3.0, 1_000, seed=2))
    assert rising.observe(noise(4.0, 1_000, seed=2))
    assert not falling.observe(noise(2.0, 1_000, seed=2))


def test_new_weights_are_judged_anew() -> None:
    watch = DriftWatch(0.002)
    watch.observe(noise(1.0, 1_000))
    watch.restart()
    assert not watch.observe(noise(4.0, 1_000)), "that is all that these weights have shown"


def test_zero_turns_it_off() -> None:
    watch = DriftWatch(0.0)
    assert not watch.observe(noise(1.0, 1_000)) and not watch.observe(noise(9.0, 1_000))
