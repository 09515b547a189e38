from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.protocols import leave_one_out, run_leave_one_out
from online_models.evaluation.protocols.examples import log_of
from online_models.evaluation.protocols.measures import debiased_hit_rate
from tests.online_models.evaluation.protocols.spies import SpyMaker

# user 0: 2 3 4 5, user 1: 5 4 3, user 2: 2 3 (too short to be tested)
LOG = log_of([(0, 2), (1, 5), (0, 3), (2, 2), (0, 4), (1, 4), (2, 3), (0, 5), (1, 3)])


def test_last_item_is_tested_with_the_validation_item_in_the_history() -> None:
    make = SpyMaker()
    result = run_leave_one_out(make, LOG)
    fit, score = make.made[0].calls
    assert fit == ("fit", [(0, 2), (1, 5), (0, 3), (2, 2), (2, 3)], [(0, 4), (1, 4)])
    assert score == ("score", [0, 1], [[2, 3, 4], [5, 4]])
    # of 2..5 user 0 is left with 5 alone, user 1 with 3 before 2
    assert result.ranks.tolist() == [1, 1]


def test_on_validation_the_item_before_the_last_is_asked_for_and_the_last_is_nowhere() -> None:
    make = SpyMaker()
    result = run_leave_one_out(make, LOG, on="validation")
    assert make.made[0].calls[0][1] == [(0, 2), (1, 5), (0, 3), (2, 2), (2, 3)]
    assert make.made[0].calls[1] == ("score", [0, 1], [[2, 3], [5]])
    assert result.ranks.tolist() == [2, 1]


def test_with_repeats_nothing_is_filtered() -> None:
    assert run_leave_one_out(SpyMaker(), LOG, repeats=True).ranks.tolist() == [1, 3]


def test_metrics_by_hand() -> None:
    metrics = run_leave_one_out(SpyMaker(), LOG, repeats=True).metrics
    assert metrics["mrr@10"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["ndcg@10"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["coverage@10"] == 1.0
    assert metrics["tests"] == 2
    # training events: 2 twice, 3 twice, 5 once; every list shows 2, 3, 4 and 5
    assert metrics["popularity@10"] == pytest.approx((2 + 2 + 0 + 1) / 4 / 5)
    # targets are 5 (once) and 3 (twice): only the first is among the first two
    ranks = run_leave_one_out(SpyMaker(), LOG, repeats=True).ranks
    assert debiased_hit_rate(ranks, np.array([1, 2]), k=2) == pytest.approx((1 / 2) / (1 / 2 + 1 / 3))


def test_the_sample_that_a_factory_sees_holds_no_event() -> None:
    make = SpyMaker()
    run_leave_one_out(make, LOG, seed=5)
    setting = make.made[0].setting
    assert setting.sample is not None and len(setting.sample) == 0
    assert (setting.rows, setting.user_count, setting.seed, setting.repeats) == (6, 3, 5, False)


def test_users_with_two_events_are_learnt_whole() -> None:
    split = leave_one_out(log_of([(0, 2), (0, 3)]))
    assert (len(split.train), len(split.validation), len(split.tests)) == (2, 0, 0)
