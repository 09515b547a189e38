from __future__ import annotations

import numpy as np

from online_models.evaluation.protocols.examples import log_of
from online_models.evaluation.protocols.slices import StreamFacts, curve_over_time, part_means

HOUR = 3_600.0


def test_facts_of_each_event() -> None:
    pairs = [(0, 2), (0, 3), (1, 2), (0, 2), (0, 4)]
    facts = StreamFacts.of(log_of(pairs, times_seconds=[0.0, 0.0, 5.0, 60.0, 2 * HOUR]))
    assert facts.untied.tolist() == [True, False, True, True, True]
    assert facts.in_session.tolist() == [0, 1, 0, 2, 0]
    assert facts.user_events.tolist() == [0, 1, 0, 2, 3]
    assert facts.item_events.tolist() == [0, 0, 1, 2, 0]


def test_an_undated_history_ties_with_nothing_but_counts_as_history() -> None:
    facts = StreamFacts.of(log_of([(0, 2), (0, 3), (0, 4)], times_seconds=[9.0] * 3, tested=[False, True, True]))
    assert facts.untied.tolist() == [False, True, False]
    assert facts.in_session.tolist() == [0, 0, 1]
    assert facts.user_events.tolist() == [0, 1, 2]


def test_parts_by_hand() -> None:
    pairs = [(0, 2)] * 9  # one user, one item, nine events of one session
    facts = StreamFacts.of(log_of(pairs))
    means = part_means(facts, np.arange(9), np.array([1, 1, 50, 50, 50, 1, 1, 50, 50]))
    assert [means[f"tests_{name}"] for name in ("session_0", "session_1", "session_2_5", "session_over_5")] == [
        1,
        1,
        4,
        3,
    ]
    assert [means[f"hr@10_{name}"] for name in ("session_0", "session_1", "session_2_5")] == [1.0, 1.0, 0.25]
    assert (means["tests_new_users"], means["hr@10_new_users"]) == (5, 0.4)
    assert means["tests_new_items"] == 9


def test_slices_hold_equally_many_tests() -> None:
    log = log_of([(0, 2)] * 40)
    curve = curve_over_time(log, StreamFacts.of(log), np.arange(20, 40), np.repeat([1, 50], 10), slices=4)
    assert curve["hr@10"] == [1.0, 1.0, 0.0, 0.0]
    assert curve["share_of_stream"] == [25 / 40, 30 / 40, 35 / 40, 1.0]
    assert curve["until_seconds"] == [24.0, 29.0, 34.0, 39.0]
