from __future__ import annotations

import pytest

from online_models.evaluation.protocols import as_sessions, run_sessions, session_split
from online_models.evaluation.protocols.examples import log_of
from tests.online_models.evaluation.protocols.spies import SpyMaker

SESSIONS = [(0, 2), (0, 3), (1, 4), (1, 4), (1, 5)]


def test_every_prefix_asks_for_the_next_item_and_repeats_stay() -> None:
    make = SpyMaker()
    result = run_sessions(make, log_of(SESSIONS), cut=0.5)
    assert make.made[0].calls == [
        ("fit", [(0, 2), (0, 3)], []),
        ("score", [1, 1], [[4], [4, 4]]),
    ]
    assert make.made[0].setting.repeats
    # 5 stands before 4, and 4 is not filtered out
    assert result.ranks.tolist() == [2, 1]
    assert result.metrics["mrr@20"] == pytest.approx(0.75)


def test_without_repeats_the_repeated_click_is_a_miss() -> None:
    metrics = run_sessions(SpyMaker(), log_of(SESSIONS), cut=0.5, repeats=False).metrics
    assert metrics["hr@20"] == 0.5


def test_given_cases_are_asked_exactly() -> None:
    tested = [False, False, False, False, True]
    split = session_split(log_of(SESSIONS, tested=tested), given=True)
    assert (split.train.tolist(), split.tests.tolist()) == ([0, 1], [4])


def test_validation_holds_out_of_what_is_learnt() -> None:
    pairs = [(session, 2 + step) for session in range(10) for step in range(3)]
    split = session_split(log_of(pairs), cut=0.8, on="validation")
    assert set(split.log.users.tolist()) == set(range(8))
    assert set(split.log.users[split.tests].tolist()) == {6, 7}


def test_last_click_of_some_training_sessions_is_for_validation() -> None:
    pairs = [(session, 2 + step) for session in range(60) for step in range(3)]
    split = session_split(log_of(pairs), cut=0.9)
    assert split.log.users[split.validation].tolist() == [0, 50]
    assert split.log.items[split.validation].tolist() == [4, 4]
    assert set(split.validation.tolist()).isdisjoint(split.train.tolist())


def test_sessions_are_numbered_as_they_begin() -> None:
    log = log_of([(1, 2), (0, 3), (1, 4), (0, 5), (1, 6)], times_seconds=[0.0, 1.0, 2.0, 5_000.0, 5_001.0])
    sessions = as_sessions(log, 60.0)
    assert sessions.users.tolist() == [0, 1, 0, 2, 3]
    assert sessions.user_count == 4


def test_a_cut_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="give a share"):
        session_split(log_of(SESSIONS), cut=0.0)
