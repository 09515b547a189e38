from __future__ import annotations

import pytest

from online_models.evaluation.protocols import run_time_split, time_split
from online_models.evaluation.protocols.examples import log_of
from tests.online_models.evaluation.protocols.spies import SpyMaker

PAIRS = [(0, 2), (1, 3), (0, 4), (1, 5), (1, 2), (0, 6), (0, 3), (2, 2)]


def test_first_event_of_each_user_after_the_cut_is_tested_with_all_that_lay_before() -> None:
    make = SpyMaker()
    result = run_time_split(make, log_of(PAIRS), cut=0.6)
    fit, score = make.made[0].calls
    # user 0 is one of every ten whose last event before the cut is kept for validation
    assert fit == ("fit", [(0, 2), (1, 3), (1, 5)], [(0, 4)])
    assert score == ("score", [1, 0, 2], [[3, 5], [2, 4], []])
    # 1 wants 2 of 2 4 6; 0 wants 6 of 3 5 6; 2 wants 2 of all five
    assert result.ranks.tolist() == [3, 1, 5]


def test_more_targets_are_asked_with_growing_histories() -> None:
    make = SpyMaker()
    run_time_split(make, log_of(PAIRS), cut=0.6, targets=2)
    assert make.made[0].calls[1] == ("score", [1, 0, 0, 2], [[3, 5], [2, 4], [2, 4, 6], []])


def test_events_of_one_time_stay_on_one_side() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0]
    split = time_split(log_of(PAIRS, times_seconds=times), cut=0.6)
    assert split.tests.min() == 3


def test_validation_looks_only_at_the_part_before_the_cut() -> None:
    split = time_split(log_of(PAIRS), cut=0.6, on="validation")
    assert len(split.log) == 4
    assert split.tests.tolist() == [2, 3]


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match="give a share"):
        time_split(log_of(PAIRS), cut=1.0)
    with pytest.raises(ValueError, match="no event lies before the cut"):
        time_split(log_of(PAIRS, times_seconds=[0.0] * 8))
