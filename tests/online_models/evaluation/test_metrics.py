from __future__ import annotations

import math

import numpy as np
import pytest

from online_models.evaluation.metrics import (
    Average,
    Calibration,
    Coverage,
    RankingMetrics,
    hit,
    log_loss,
    ndcg,
    rank_biased_overlap,
    ranks_of,
    reciprocal,
)


def test_ties_and_nan_count_against_the_model() -> None:
    scores = np.array([[1.0, 1.0, 1.0], [3.0, 2.0, 1.0], [np.nan, 2.0, 1.0], [np.nan, 2.0, 1.0], [np.nan] * 3])
    assert ranks_of(scores, np.array([0, 0, 0, 1, 2])).tolist() == [3, 1, 3, 2, 3]


def test_masked_candidates_do_not_count() -> None:
    mask = np.array([[True, False, True]])
    assert ranks_of(np.array([[1.0, 9.0, 0.5]]), np.array([0]), mask).tolist() == [1]


def test_metrics_by_hand() -> None:
    ranks = np.array([1, 2, 10, 11])
    assert hit(ranks, 10).tolist() == [1, 1, 1, 0]
    assert ndcg(ranks, 10) == pytest.approx([1, 1 / math.log2(3), 1 / math.log2(11), 0])
    assert reciprocal(ranks, 10) == pytest.approx([1, 0.5, 0.1, 0])


def test_average_is_numpys_in_any_chunks() -> None:
    values = np.random.default_rng(1).normal(5, 2, 101)
    average = Average()
    for chunk in (values[:1], values[1:1], values[1:40], values[40:]):
        average.update(chunk)
    assert average.count == 101
    assert average.mean == pytest.approx(values.mean())
    assert average.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(101))
    resumed = Average()
    resumed.load_state_dict(average.state_dict())
    assert resumed.standard_error == average.standard_error
    assert math.isnan(Average().standard_error)


def test_ranking_metrics_resume() -> None:
    metrics, resumed = RankingMetrics((1, 10)), RankingMetrics((1, 10))
    metrics.update(np.array([1, 5, 50]))
    resumed.load_state_dict(metrics.state_dict())
    for each in (metrics, resumed):
        each.update([2])
    assert metrics.means() == resumed.means() and metrics.standard_errors() == resumed.standard_errors()
    assert metrics.means()["hr@10"] == 0.75 and metrics.means()["hr@1"] == 0.25
    assert metrics.standard_errors()["hr@10"] == pytest.approx(0.25)


def test_rank_biased_overlap_weighs_the_top() -> None:
    assert rank_biased_overlap([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    top, bottom = rank_biased_overlap([1, 2, 3], [1, 2, 4]), rank_biased_overlap([1, 2, 3], [4, 2, 3])
    assert 1 > top > bottom > 0
    # A = (1, 1/2), p = 0.5: A_2 p^2 + (1-p)/p (A_1 p + A_2 p^2)
    assert rank_biased_overlap([1, 2], [1, 3], 0.5) == pytest.approx(0.5 * 0.25 + 0.5 + 0.125)
    assert rank_biased_overlap([], []) == 1 and rank_biased_overlap([], [1]) == 0
    with pytest.raises(ValueError, match="persistence is 1.0"):
        rank_biased_overlap([1], [1], 1.0)


def test_log_loss_is_finite_at_the_ends() -> None:
    assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([1.0, 0.0]))).all()
    assert log_loss(np.array([0.8]), np.array([1.0])) == pytest.approx([-math.log(0.8)])


def test_coverage_counts_distinct_items() -> None:
    coverage = Coverage(rows=100)
    coverage.update(np.array([[2, 3], [3, 1]]))
    coverage.update(np.array([4, 0]))
    assert coverage.share(items=10) == 0.3
    assert Coverage(rows=3).share(items=0) == 0


def test_calibration_of_a_calibrated_and_a_bragging_model() -> None:
    draw = np.random.default_rng(1)
    probabilities = draw.random(50_000)
    labels = (draw.random(50_000) < probabilities).astype(float)
    honest, bragging = Calibration(), Calibration()
    honest.update(probabilities, labels)
    bragging.update(np.minimum(probabilities * 1.5, 1), labels)
    assert honest.error < 0.01 and honest.ratio == pytest.approx(1, abs=0.02)
    assert bragging.error > 0.1 and bragging.ratio > 1.2
    assert Calibration().error == 0 and math.isnan(Calibration().ratio)
