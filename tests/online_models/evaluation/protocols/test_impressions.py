from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.protocols.impressions import Impressions, OnlineCalibrator, slate_measures


def made_up(slates: int = 2_000, noise: float = 1.0) -> tuple[Impressions, list[np.ndarray]]:  # type: ignore[type-arg]
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(slates, 5))
    chances = 1 / (1 + np.exp(-(scores - 1)))
    taken = rng.random((slates, 5)) < chances
    shown = Impressions(
        offsets=np.arange(slates + 1) * 5,
        items=np.tile(np.arange(2, 7), slates),
        taken=taken.ravel(),
        users=np.zeros(slates, np.int64),
        times_seconds=np.arange(slates, dtype=np.float64),
    )
    return shown, list(scores * 1_000 * noise)


def test_probabilities_are_calibrated_whatever_the_scale_of_the_scores() -> None:
    slates, scores = made_up()
    measures = slate_measures(slates, np.arange(len(slates)), scores)
    assert measures["calibration_error"] < 0.03
    assert measures["calibration_ratio"] == pytest.approx(1, abs=0.05)
    assert measures["slate_auc"] > 0.65


def test_scores_that_say_nothing_lose() -> None:
    slates, scores = made_up()
    informed = slate_measures(slates, np.arange(len(slates)), scores)
    blind = slate_measures(slates, np.arange(len(slates)), [np.zeros(5) for _ in scores])
    assert blind["slate_auc"] == 0.0  # a tie is no right order
    assert blind["log_loss"] > informed["log_loss"] + 0.02


def test_too_few_slates_give_no_probabilities() -> None:
    slates, scores = made_up(10)
    assert "log_loss" not in slate_measures(slates, np.arange(10), scores)


def test_the_calibrator_carries_on_where_it_was() -> None:
    calibrator = OnlineCalibrator(1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        inputs = rng.normal(size=(100, 1))
        calibrator.learn(inputs, (rng.random(100) < 1 / (1 + np.exp(-(2 * inputs[:, 0] - 1)))).astype(np.float64))
    at_zero, at_one = calibrator.predict(np.array([[0.0], [1.0]]))
    assert at_zero == pytest.approx(1 / (1 + np.e), abs=0.05)
    assert at_one == pytest.approx(1 / (1 + np.exp(-1)), abs=0.05)
