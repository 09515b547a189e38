from __future__ import annotations

import math

from online_models.stability import LossWatch


def watch_over(losses: list[float], **options: float) -> LossWatch:
    watch = LossWatch(**options)  # type: ignore[arg-type]
    for loss in losses:
        watch.observe(loss)
    return watch


def level(around: float, count: int) -> list[float]:
    """Losses that swing around a level by a tenth."""
    return [around + 0.1 * math.sin(step) for step in range(count)]


def test_a_falling_loss_has_no_spikes() -> None:
    assert watch_over([5 / (1 + 0.05 * step) for step in range(300)]).spikes == 0


def test_one_burst_does_not_hide_the_next() -> None:
    assert watch_over([*level(2, 50), 50.0, *level(2, 5), 50.0, *level(2, 5)]).spikes == 2


def test_a_level_that_stays_becomes_the_new_level() -> None:
    watch = watch_over([*level(2, 200), *level(4, 400)])
    before = watch.spikes
    assert 0 < before < 100
    for loss in level(4, 50):
        watch.observe(loss)
    assert watch.spikes == before


def test_what_is_not_finite_is_a_spike_from_the_first_step_on() -> None:
    watch = watch_over([math.nan, math.inf, 2.0])
    assert watch.spikes == 2 and math.isfinite(watch._mean)


def test_it_resumes_exactly() -> None:
    watch = watch_over(level(2, 30))
    resumed = LossWatch()
    resumed.load_state_dict(watch.state_dict())
    for loss in (2.1, 9.0, 1.9):
        assert watch.observe(loss) == resumed.observe(loss)
    assert watch.state_dict() == resumed.state_dict()
