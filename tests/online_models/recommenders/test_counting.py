"""Counting recommenders learn what popularity cannot."""

from __future__ import annotations

import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders import Setting
from online_models.recommenders.counting import RECOMMENDERS
from tests.online_models.recommenders.small_logs import log_of, stream


def _planted(users: int = 60) -> list[tuple[int, int]]:
    """Items 2 and 3 are followed by 8 and 9; 10 is what everybody takes first."""
    return [event for user in range(users) for event in ((user, 10), (user, 2 + user % 2), (user, 8 + user % 2))]


@pytest.mark.parametrize("name", RECOMMENDERS)
@pytest.mark.parametrize("offline", [True, False])
def test_a_planted_pattern_is_found(name: str, offline: bool) -> None:
    log = log_of(_planted())
    model = RECOMMENDERS[name](Setting(rows=log.rows, user_count=log.user_count))
    if offline:
        model.fit(log)
    else:
        stream(model, log)
    scores = model.score(Histories.of([[2], [3]]))
    scores[:, [2, 3, 10]] = 0
    assert scores.argmax(axis=1).tolist() == [8, 9]


def test_direction_counts_for_all_but_knn() -> None:
    log = log_of(_planted())
    for name in ("cooccurrence", "transitions"):
        model = RECOMMENDERS[name](Setting(rows=log.rows, user_count=log.user_count))
        model.fit(log)
        scores = model.score(Histories.of([[8]]))[0]
        assert scores[2] < 0.5 * model.score(Histories.of([[2]]))[0, 8]
