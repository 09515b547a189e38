"""User-kNN: the stream's neighbours are the log's, and tastes are found."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders import user_knn
from online_models.recommenders.user_knn import UserKNN
from tests.online_models.recommenders.small_logs import log_of, random_log, stream


def test_a_stream_is_a_log() -> None:
    log = random_log()
    fitted, streamed = (UserKNN(log.rows, log.user_count, neighbours=5) for _ in range(2))
    fitted.fit(log)
    stream(streamed, log)
    histories = Histories.of([[3, 4], [7], []], users=[0, 1, 2])
    assert np.allclose(fitted.score(histories), streamed.score(histories))


def test_scores_follow_the_formula() -> None:
    model = UserKNN(8, 4, decay=0.5)
    model.fit(log_of([(0, 2), (0, 3), (0, 4), (1, 3), (1, 5), (2, 6)], rows=8, users=4))
    scores = model.score(Histories.of([[2, 3]], users=[3]))[0]
    first = (0.5 / np.log(3) + 1 / np.log(4)) / np.sqrt(3)
    second = 1 / np.log(4) / np.sqrt(2)
    assert np.isclose(scores[4], first**2 / np.sqrt(3)) and np.isclose(scores[5], second**2 / np.sqrt(2))
    assert scores[6] == 0


def test_users_are_not_their_own_neighbours() -> None:
    model = UserKNN(8, 2)
    model.fit(log_of([(0, 2), (0, 3)], rows=8, users=2))
    assert not model.score(Histories.of([[2, 3]], users=[0])).any()


def test_a_table_of_bytes_says_what_lists_say(monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log()
    scores = []
    for cells in (10**6, 0):
        monkeypatch.setattr(user_knn, "_TABLE_CELLS", cells)
        fitted, streamed = (UserKNN(log.rows, log.user_count, neighbours=5) for _ in range(2))
        fitted.fit(log.take(slice(0, 60)))
        for event in range(60, len(log)):
            fitted.observe(int(log.users[event]), int(log.items[event]))
        stream(streamed, log)
        histories = Histories.of([[3, 4], [7], []], users=[0, 1, 2])
        scores += [fitted.score(histories), streamed.score(histories)]
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-4)


def test_what_is_taken_very_often_does_not_wrap_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_knn, "_MOST_TIMES", 3)
    streamed, fitted = UserKNN(4, 2), UserKNN(4, 2)
    log = log_of([(0, 2)] * 7 + [(0, 3)], rows=4, users=2)
    stream(streamed, log)
    fitted.fit(log)
    histories = Histories.of([[3]], users=[1])
    np.testing.assert_allclose(streamed.score(histories), fitted.score(histories))
    assert streamed.score(histories)[0, 2] == 3 * streamed.score(histories)[0, 3]
