from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.protocols.measures import (
    Occurrences,
    debiased_hit_rate,
    list_measures,
    ranking_means,
    stability,
)


def test_a_hit_on_a_rare_item_weighs_more() -> None:
    common, rare = np.array([99, 0]), np.array([0, 99])
    ranks = np.array([1, 50])
    assert debiased_hit_rate(ranks, common, 10) == pytest.approx((1 / 100) / (1 / 100 + 1))
    assert debiased_hit_rate(ranks, rare, 10) == pytest.approx(1 / (1 / 100 + 1))
    assert debiased_hit_rate(ranks, np.array([7, 7]), 10) == ranking_means(ranks)["hr@10"]


def test_coverage_and_popularity_of_lists() -> None:
    values = list_measures(np.array([[2, 3], [2, 0]]), np.array([[4, 1], [5, 0]]), 6, np.array([10.0, 20.0]))
    assert values["coverage@10"] == 0.5  # of the four items 2 and 3 are shown
    assert values["popularity@10"] == pytest.approx((4 / 10 + 1 / 10 + 5 / 20) / 3)


def test_stability_compares_lists_of_one_user() -> None:
    lists = np.array([[2, 3, 4], [7, 8, 9], [2, 3, 4], [4, 3, 2]])
    assert stability(lists[:3], np.array([0, 1, 0])) == pytest.approx(1.0)
    assert stability(lists[:2], np.array([0, 0])) == 0.0
    assert 0 < stability(lists[2:], np.array([0, 0])) < 1
    assert np.isnan(stability(lists, np.arange(4)))


def test_occurrences_before_an_event() -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(0, 6, 50)
    asked, events = rng.integers(0, 8, 30), rng.integers(0, 51, 30)
    expected = [int((items[:event] == item).sum()) for item, event in zip(asked, events, strict=True)]
    assert Occurrences(items).before(asked, events).tolist() == expected


def test_no_tests_give_nan() -> None:
    assert np.isnan(ranking_means(np.zeros(0, np.int64))["hr@10"])
