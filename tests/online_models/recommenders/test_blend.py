"""Blends of recommenders: the order of test and lesson, sources in micro-batches, the offline fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting
from online_models.recommenders.blend import (
    RECOMMENDERS,
    Blend,
    context_of,
    counting_sources,
)
from online_models.recommenders.logs import split_newest
from tests.online_models.recommenders.small_logs import before, log_of, random_log, stream


class _Oracle:
    """Knows that item i is followed by i + 1; keeps what it was asked and taught."""

    def __init__(self, micro_batch: int = 1, shift: int = 1, rows: int = 12) -> None:
        self.micro_batch, self.shift, self.rows = micro_batch, shift, rows
        self.calls: list[tuple[str, list[int]]] = []

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        self.calls.append(("fit", [len(train), 0 if validation is None else len(validation)]))

    def learn(self, events: Interactions, histories: Histories) -> None:
        assert len(events) == len(histories)
        self.calls.append(("learn", events.items.tolist()))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        self.calls.append(("score", histories.users.tolist()))
        scores = np.zeros((len(histories), self.rows), np.float32)
        for place in range(len(histories)):
            if len(histories.items_of(place)):
                scores[place, (histories.items_of(place)[-1] + self.shift) % self.rows] = 3
        return scores


def _chains(users: int = 40) -> Interactions:
    return log_of([(user, item) for user in range(users) for item in range(2 + user % 5, 6 + user % 5)])


def _setting(log: Interactions) -> Setting:
    return Setting(rows=log.rows, user_count=log.user_count)


def test_a_stream_teaches_whom_to_trust() -> None:
    log = _chains()
    blend = Blend([_Oracle(shift=3), _Oracle()], _setting(log))
    stream(blend, log)
    assert blend.score(Histories.of([[4], [7]])).argmax(axis=1).tolist() == [5, 8]


def test_sources_are_asked_before_they_are_taught() -> None:
    log = _chains(2)
    source = _Oracle()
    stream(Blend([source], _setting(log)), log)
    assert [name for name, _ in source.calls] == ["score", "learn"] * len(log)


def test_what_was_scored_is_not_scored_again() -> None:
    log = _chains(1)
    source = _Oracle()
    blend = Blend([source], _setting(log))
    histories = before(log, 2)
    blend.score(histories)
    blend.learn(log.take(slice(2, 3)), histories)
    assert [name for name, _ in source.calls] == ["score", "learn"]


def test_untested_events_are_learnt_by_the_sources_alone() -> None:
    log = _chains(1)
    log.tested[:] = False
    source = _Oracle()
    blend = Blend([source], _setting(log))
    stream(blend, log)
    assert blend.blend is None and [name for name, _ in source.calls] == ["learn"] * len(log)


def test_a_source_with_micro_batches_gets_its_events_together() -> None:
    log = _chains(2)
    source = _Oracle(micro_batch=3)
    stream(Blend([source], _setting(log)), log)
    taught = [items for name, items in source.calls if name == "learn"]
    assert taught == [log.items[:3].tolist(), log.items[3:6].tolist()]


def test_offline_weights_come_from_validation_items() -> None:
    log = _chains()
    train, validation = split_newest(log)
    source = _Oracle()
    blend = Blend([_Oracle(shift=3), source], _setting(log))
    blend.fit(train, validation)
    fits = [sizes for name, sizes in source.calls if name == "fit"]
    assert fits == [[len(train), 0], [len(train), len(validation)]]
    assert blend.score(Histories.of([[4], [7]])).argmax(axis=1).tolist() == [5, 8]


def test_context_of_new_and_old_users() -> None:
    histories = Histories.of([[], [2, 3]], times_seconds=[[], [10.0, 20.0]], now_seconds=[20.0, 20.0])
    assert context_of(histories)[:, [0, 1, 4]].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_counting_blend_runs_on_and_off_the_stream() -> None:
    log = random_log()
    assert len(counting_sources(_setting(log))) == 7  # a catalogue without texts has no content source
    online, offline = (RECOMMENDERS["blend"](_setting(log)) for _ in range(2))
    stream(online, log)
    offline.fit(log)
    for model in (online, offline):
        scores = model.score(Histories.of([[3, 4], []]))
        assert scores.shape == (2, log.rows) and np.isfinite(scores[:, 2:]).all()


def test_a_source_that_learns_by_gradients_is_fitted_once() -> None:
    train, validation = split_newest(_chains())
    source = _Oracle(micro_batch=256)
    Blend([_Oracle(), source], _setting(_chains())).fit(train, validation)
    fits = [sizes for name, sizes in source.calls if name == "fit"]
    assert fits == [[len(train), len(validation)]]


def test_where_items_come_again_the_blend_offers_them() -> None:
    log = log_of([(user, item) for user in range(40) for item in (2 + user % 8, 3 + user % 8, 2 + user % 8)])
    blend = RECOMMENDERS["blend"](Setting(rows=log.rows, user_count=log.user_count, repeats=True))
    blend.fit(log)
    assert blend.score(Histories.of([[4, 5]]))[0].argmax() == 4
