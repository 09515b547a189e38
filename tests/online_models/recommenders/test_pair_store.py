"""Counting a log at once is counting it event by event, sparse or dense; scores follow the formula."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders import pair_store
from online_models.recommenders.pair_store import PairReading, PairRule, PairStore
from tests.online_models.recommenders.small_logs import before, log_of, random_log

RULES = [PairRule(window=1), PairRule(window=4, decay=0.5), PairRule(window=6, decay=0.9, backward=0.3)]


@pytest.fixture(params=["dense", "sparse"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(pair_store, "DENSE_ROWS", 4096 if request.param == "dense" else 0)
    yield request.param


def _streamed(rule: PairRule) -> PairStore:
    log = random_log()
    store = PairStore(log.rows, rule)
    for event in range(len(log)):
        store.observe(before(log, event).items, int(log.items[event]))
    return store


@pytest.mark.parametrize("rule", RULES)
def test_a_log_counts_as_its_events_do(layout: str, rule: PairRule) -> None:
    fitted, streamed = PairStore(30, rule), _streamed(rule)
    fitted.fit(random_log())
    assert np.allclose(fitted.matrix().toarray(), streamed.matrix().toarray(), atol=1e-5)
    assert np.array_equal(fitted.item_counts, streamed.item_counts)


def test_an_item_may_follow_itself_where_the_rule_says_so(layout: str) -> None:
    log = log_of([(0, 2), (0, 3), (0, 2), (0, 2)], rows=6)
    rule = PairRule(window=3, decay=0.5, itself=True)
    fitted, streamed = PairStore(6, rule), PairStore(6, rule)
    fitted.fit(log)
    for event in range(len(log)):
        streamed.observe(before(log, event).items, int(log.items[event]))
    # 2 → 2: one step back, two steps back, three steps back; 2 → 3 once; 3 → 2 after one step and after two
    expected = {(2, 2): 1 + 0.5 + 0.25, (2, 3): 1.0, (3, 2): 1 + 0.5}
    for store in (fitted, streamed):
        counts = store.matrix().toarray()
        assert {tuple(place): counts[tuple(place)] for place in np.argwhere(counts).tolist()} == expected


def test_goes_on_after_a_fit(layout: str) -> None:
    log, rule = random_log(), RULES[2]
    store = PairStore(30, rule)
    store.fit(log.take(slice(0, 80)))
    for event in range(80, len(log)):
        store.observe(before(log, event).items, int(log.items[event]))
    assert np.allclose(store.matrix().toarray(), _streamed(rule).matrix().toarray(), atol=1e-5)


def test_one_history_scores_as_many_do(layout: str) -> None:
    store, reading = _streamed(RULES[1]), PairReading(last=3, decay=0.7, target_power=0.5)
    histories = Histories.of([[3, 4, 5, 6], [], [7, 2]])
    alone = [store.score(histories.take(np.array([place])), reading)[0] for place in range(3)]
    assert np.allclose(store.score(histories, reading), alone, atol=1e-5)


def test_scores_follow_the_formula(layout: str) -> None:
    store = PairStore(8, PairRule(window=2, decay=0.5, backward=0.25))
    store.fit(log_of([(0, 2), (0, 3), (0, 4), (1, 3), (1, 4)], rows=8))
    # c(3 → 4) = 2, c(2 → 4) = 0.5; n_2 = 1, n_3 = 2, n_4 = 2; c(3 → 2) = 0.25
    reading = PairReading(last=2, decay=0.1, source_power=1.0, target_power=1.0, smoothing=1.0)
    scores = store.score(Histories.of([[2, 3]]), reading)[0]
    assert scores[4] == pytest.approx((2 / 3 + 0.1 * 0.5 / 2) / 3)
    assert scores[2] == pytest.approx(0.25 / 3 / 2)


READINGS = (
    PairReading(last=2, decay=0.5, source_power=0.3, target_power=0.4),
    PairReading(last=5, decay=0.9, source_power=0.0),
)


@pytest.mark.parametrize("fitted_events", [0, 50, None])
def test_all_readings_at_once_are_each_alone(layout: str, fitted_events: int | None) -> None:
    log, store = random_log(), PairStore(30, RULES[2])
    fitted_events = len(log) if fitted_events is None else fitted_events
    store.fit(log.take(slice(0, fitted_events)))
    histories = Histories.of([[3, 4, 5, 6, 4, 8], [], [9]])
    store.columns(histories, READINGS)  # powers that are kept up to date from here on
    for event in range(fitted_events, len(log)):
        store.observe(before(log, event).items, int(log.items[event]))
    counts, matrix = store.item_counts.astype(np.float64), store.matrix().toarray()
    for place in range(3):
        newest = histories.items_of(place)[::-1]
        expected = [
            sum(
                (
                    reading.decay**step * (counts[item] + 1) ** -reading.source_power * matrix[item]
                    for step, item in enumerate(newest[: reading.last].tolist())
                ),
                np.zeros(30),
            )
            * (counts + 1) ** -reading.target_power
            for reading in READINGS
        ]
        found = store.columns(histories.take(np.array([place])), READINGS)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(store.columns(histories, READINGS)[:, place], expected, rtol=1e-4, atol=1e-6)
