from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.evaluation.protocols.examples import log_of
from online_models.recommenders import Setting
from online_models.recommenders.popular import Popular, PopularDecayed, PopularLately

DAY = 86_400.0
SETTING = Setting(rows=6, user_count=3)
# 2 was taken three times long ago, 3 twice lately, 4 once in the end
LOG = log_of(
    [(0, 2), (1, 2), (2, 2), (0, 3), (1, 3), (2, 4)], times_seconds=[0.0, DAY, DAY, 20 * DAY, 21 * DAY, 30 * DAY]
)


def asked(*days: float) -> Histories:
    return Histories.of([[] for _ in days], now_seconds=[day * DAY for day in days])


def best(scores: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return (2 + scores[:, 2:].argmax(1)).tolist()


@pytest.mark.parametrize("make", [Popular, PopularLately, PopularDecayed])
def test_learning_event_by_event_is_fitting_the_whole(make: type) -> None:
    fitted, learnt = make(SETTING), make(SETTING)
    fitted.fit(LOG)
    for event in range(len(LOG)):
        part = LOG.take(slice(event, event + 1))
        learnt.score(asked(float(part.times_seconds[0] / DAY)))
        learnt.learn(part, Histories.of([[]]))
    np.testing.assert_allclose(learnt.score(asked(31, 40)), fitted.score(asked(31, 40)), rtol=1e-6)


def test_popular_counts_everything() -> None:
    popular = Popular(SETTING)
    popular.fit(LOG)
    assert popular.score(asked(1, 40)).tolist() == [[0, 0, 3, 2, 1, 0]] * 2


def test_the_window_ends_at_the_question_whatever_the_order_of_the_questions() -> None:
    lately = PopularLately(SETTING)
    lately.fit(LOG)
    scores = lately.score(asked(31, 2, 22, 50))
    assert np.floor(scores[:, 2:5]).tolist() == [[0, 0, 1], [3, 0, 0], [0, 2, 0], [0, 0, 0]]
    # outside of every window the older counts decide
    assert best(scores) == [4, 2, 3, 2]


def test_an_event_counts_half_after_a_half_life() -> None:
    decayed = PopularDecayed(SETTING, half_life_days=10)
    decayed.fit(LOG)
    now = decayed.score(asked(30))[0]
    assert now[4] / now[3] == pytest.approx(1 / (2**-1.0 + 2**-0.9))
    assert best(decayed.score(asked(30, 2, 22))) == [3, 2, 3]
    assert decayed.score(asked(2))[0, 3:].tolist() == [0, 0, 0]  # what lies after the question is not counted


def test_an_undated_history_arrives_when_it_is_learnt() -> None:
    lately = PopularLately(SETTING)
    lately.fit(LOG)
    lately.learn(log_of([(0, 5)], times_seconds=[0.0]), Histories.of([[]]))
    assert lately.score(asked(30))[0, 5] > 1
