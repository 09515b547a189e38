from __future__ import annotations

import numpy as np

from online_models.evaluation.protocols.examples import log_of
from online_models.evaluation.protocols.timeline import Timeline

PAIRS = [(0, 2), (1, 3), (0, 4), (0, 2), (1, 5), (2, 2), (0, 6)]


def test_history_is_what_the_user_did_before_in_order() -> None:
    rng = np.random.default_rng(1)
    pairs = [(int(user), int(item)) for user, item in zip(rng.integers(0, 5, 80), rng.integers(2, 9, 80), strict=True)]
    log = log_of(pairs, actions=rng.integers(1, 4, 80))
    timeline = Timeline(log)
    cut = timeline.before(np.arange(80))
    for event, (user, _) in enumerate(pairs):
        before = [place for place in range(event) if pairs[place][0] == user]
        assert cut.items_of(event).tolist() == [pairs[place][1] for place in before]
        assert timeline.before(slice(event, event + 1)).times_seconds.tolist() == before
        assert timeline.before(slice(event, event + 1)).actions.tolist() == log.actions[before].tolist()
        assert timeline.seen_before(slice(event, event + 1)).items.tolist() == list(
            dict.fromkeys(pairs[place][1] for place in before)
        )
    assert cut.users.tolist() == log.users.tolist()
    assert cut.now_seconds.tolist() == log.times_seconds.tolist()


def test_items_taken_twice_are_seen_once() -> None:
    timeline = Timeline(log_of(PAIRS))
    seen = timeline.seen_before(np.array([4, 6]))
    assert list(zip(seen.places.tolist(), seen.items.tolist(), strict=True)) == [(0, 3), (1, 2), (1, 4)]


def test_previous_event_and_events_before_and_after() -> None:
    timeline = Timeline(log_of(PAIRS))
    assert timeline.previous().tolist() == [-1, -1, 0, 2, 1, -1, 3]
    assert timeline.earlier.tolist() == [0, 0, 1, 2, 1, 0, 3]
    assert timeline.lasting.tolist() == [3, 1, 2, 1, 0, 0, 0]


def test_a_pause_begins_a_session_anew() -> None:
    timeline = Timeline(log_of([(0, 2), (0, 3), (1, 2), (0, 4)], times_seconds=[0.0, 10.0, 11.0, 100.0]))
    assert timeline.in_session(60.0).tolist() == [0, 1, 0, 0]
    assert timeline.in_session(90.0).tolist() == [0, 1, 0, 2]


def test_users_can_be_asked_about_between_their_events() -> None:
    histories = Timeline(log_of(PAIRS)).at(np.array([0, 2, 1]), np.array([3, 5, 7]), np.array([2.5, 5.0, 9.0]))
    assert [histories.items_of(place).tolist() for place in range(3)] == [[2, 4], [], [3, 5]]
    assert histories.now_seconds.tolist() == [2.5, 5.0, 9.0]
