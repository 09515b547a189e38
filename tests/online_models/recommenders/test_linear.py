"""Linear recommenders against their closed forms; the stream's sums are the log's."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders import linear
from online_models.recommenders.linear import EaseRecommender, LinearReading, Refits, RidgeRecommender
from online_models.recommenders.pair_store import PairRule
from tests.online_models.recommenders.small_logs import random_log, stream

READING = LinearReading(last=5, decay=0.5)
NEVER = Refits(events=10**9)
RULE = PairRule(window=4, decay=0.5)


def test_streamed_gram_is_that_of_the_log() -> None:
    log = random_log()
    fitted, streamed = (EaseRecommender(log.rows, 5.0, NEVER, READING) for _ in range(2))
    fitted.fit(log)
    stream(streamed, log)
    assert np.array_equal(fitted.gram, streamed.gram)


def test_ease_is_the_closed_form() -> None:
    log = random_log()
    model = EaseRecommender(log.rows, 5.0, NEVER, READING)
    model.fit(log)
    taken = np.zeros((log.user_count, log.rows))
    taken[log.users, log.items] = 1
    inverse = np.linalg.inv(taken.T @ taken + 5.0 * np.eye(log.rows))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert np.allclose(model.weights, expected, atol=1e-4)


def test_ridge_is_a_regression_on_the_next_item() -> None:
    log = random_log()
    model = RidgeRecommender(log.rows, 2.0, RULE, NEVER, READING)
    model.fit(log)
    states, following = [], []
    for user in range(log.user_count):
        items = log.items[log.users == user]
        for place, item in enumerate(items):
            newest = items[max(place - 4, 0) : place]
            states.append(np.bincount(newest, 0.5 ** np.arange(len(newest))[::-1], minlength=log.rows))
            following.append(np.eye(log.rows)[item])
    inputs, outputs = np.array(states), np.array(following)
    expected = np.linalg.solve(inputs.T @ inputs + 2.0 * np.eye(log.rows), inputs.T @ outputs)
    assert np.allclose(model.weights, expected, atol=1e-4)


def test_streamed_ridge_is_that_of_the_log() -> None:
    log = random_log()
    fitted, streamed = (RidgeRecommender(log.rows, 2.0, RULE, NEVER, READING) for _ in range(2))
    fitted.fit(log)
    stream(streamed, log)
    streamed.solve()
    assert np.allclose(fitted.weights, streamed.weights, atol=1e-4)


def test_one_history_reads_as_many_do() -> None:
    log = random_log()
    model = EaseRecommender(log.rows, 5.0, NEVER, READING, LinearReading(decay=1.0))
    model.fit(log)
    histories = Histories.of([[3, 4, 5], [], [7]])
    alone = [model.columns(histories.take(np.array([place])))[:, 0] for place in range(3)]
    assert np.allclose(model.columns(histories), np.stack(alone, axis=1), atol=1e-5)


def test_refits_grow_rarer_with_the_log() -> None:
    refits = Refits(events=10, growth=0.1)
    assert refits.due(10, 50) and not refits.due(10, 200) and refits.due(20, 200)


def test_refits_come_on_the_stream() -> None:
    log = random_log()
    model = EaseRecommender(log.rows, 5.0, Refits(events=20, growth=0.1), READING)
    stream(model, log)
    assert 0 < model.fitted_events <= len(log) and model.score(Histories.of([[2]])).any()


def test_what_comes_twice_in_a_history_is_one_pair() -> None:
    model = EaseRecommender(6, 5.0, NEVER, READING)
    model.add(np.array([2, 3, 2]), 4)
    assert model.gram[4].tolist() == [0, 0, 1, 1, 1, 0] == model.gram[:, 4].tolist()


def test_many_waiting_events_are_taken_into_the_sums_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log()
    at_once, in_parts = (RidgeRecommender(log.rows, 2.0, RULE, NEVER, READING) for _ in range(2))
    stream(at_once, log)
    monkeypatch.setattr(linear, "_MOST_WAITING", 7)
    stream(in_parts, log)
    assert not at_once.inputs.any() and in_parts.inputs.any()
    for model in (at_once, in_parts):
        model.solve()
    np.testing.assert_allclose(at_once.weights, in_parts.weights, atol=1e-5)


def test_all_readings_at_once_are_each_alone() -> None:
    log = random_log()
    readings = (LinearReading(last=2, decay=0.5), LinearReading(last=5, decay=1.0))
    model = EaseRecommender(log.rows, 5.0, NEVER, *readings)
    model.fit(log)
    histories = Histories.of([[3, 4, 5, 6, 7, 8]])
    expected = [model._read(histories, reading)[0] for reading in readings]
    np.testing.assert_allclose(model.columns(histories)[:, 0], expected, atol=1e-5)
