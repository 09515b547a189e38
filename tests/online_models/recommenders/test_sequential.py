from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from online_models.bucketing import sequences
from online_models.evaluation.interactions import Histories, Interactions
from online_models.evaluation.metrics import ranks_of
from online_models.recommenders import Setting, recommenders
from online_models.recommenders.history_store import HistoryStore
from online_models.recommenders.sequential import Online, SequenceRecommender, bucketed, sasrec_learner

ROWS, USERS = 42, 30


def interactions(users: np.ndarray, items: np.ndarray) -> Interactions:
    number = len(items)
    return Interactions(
        users=users,
        items=items,
        times_seconds=np.arange(number, dtype=np.float64),
        actions=np.ones(number, np.int64),
        values=np.full(number, np.nan, np.float32),
        tested=np.ones(number, bool),
        rows=ROWS,
        user_count=USERS,
    )


def stream(events: int, step: int = 3) -> Interactions:
    """Random users take turns; each walks in a ring of its own steps, so no item is more popular than another."""
    draw = np.random.default_rng(4)
    users, place = draw.integers(0, USERS, events), draw.integers(0, ROWS - 2, USERS)
    items = np.zeros(events, np.int64)
    for event, user in enumerate(users):
        place[user] = (place[user] + step) % (ROWS - 2)
        items[event] = place[user] + 2
    return interactions(users, items)


def before_each(log: Interactions, first: int, last: int) -> Histories:
    """What was known before each of the events first .. last - 1."""
    lists = [log.items[:event][log.users[:event] == log.users[event]].tolist() for event in range(first, last)]
    return Histories.of(lists, users=log.users[first:last].tolist())


def walk(recommender: SequenceRecommender, log: Interactions) -> list[float]:
    """Test, then train; HR@5 of each micro-batch."""
    hits = []
    for first in range(0, len(log), recommender.micro_batch):
        last = min(first + recommender.micro_batch, len(log))
        histories = before_each(log, first, last)
        scores = recommender.score(histories)
        hits.append(float((ranks_of(scores[:, 2:], log.items[first:last] - 2) <= 5).mean()))
        recommender.learn(log.take(slice(first, last)), histories)
    return hits


def make(replay: float = 1.0, **sizes: int) -> SequenceRecommender:
    setting = Setting(rows=ROWS, user_count=USERS)
    learner = partial(sasrec_learner, setting, rate=1e-2, negatives=32, dimension=16, layers=1, **sizes)
    return SequenceRecommender(learner, setting, history=12, online=Online(micro_batch=32, replay=replay))


def test_it_learns_a_planted_stream_while_it_is_tested() -> None:
    hits = walk(make(), stream(2_500))
    assert np.mean(hits[:5]) < 0.4 and np.mean(hits[-10:]) > 0.9


def test_every_new_event_is_taught_once_and_replay_adds_as_many() -> None:
    log, taught = stream(400), []
    recommender = make(replay=0.0)
    learn = recommender.learner.learn_sequences
    recommender.learner.learn_sequences = lambda *groups: (taught.append(groups), learn(*groups))[1]  # type: ignore
    walk(recommender, log)
    pairs = [
        (int(user), int(item))
        for groups in taught
        for group in groups
        for user, row, weights in zip(group.users, group.items, group.target_weights, strict=True)
        for item in row[weights > 0]
    ]
    expected = [(u, i) for e, (u, i) in enumerate(zip(log.users, log.items, strict=True)) if u in log.users[:e]]
    assert sorted(pairs) == sorted(expected)
    replaying, sizes = make(replay=1.0), []
    learn_too = replaying.learner.learn_sequences
    replaying.learner.learn_sequences = lambda *groups: sizes.append(learn_too(*groups)) or {}  # type: ignore
    walk(replaying, log)
    assert 1.5 < sum(size["targets"] for size in sizes) / len(expected) < 2.5


def test_more_new_events_than_a_history_are_all_taught() -> None:
    items = np.arange(2, 40)
    log, recommender = interactions(np.zeros(38, np.int64), items), make(replay=0.0)
    recommender.learn(log, before_each(log, 0, 38))
    assert recommender.learner.counts[3:40].tolist() == [1.0] * 37


def test_fit_then_score() -> None:
    recommender = make()
    log = stream(1_500)
    newest = np.array([np.flatnonzero(log.users == user)[-1] for user in range(USERS)])
    rest = np.setdiff1d(np.arange(len(log)), newest)
    recommender.fit(log.take(rest), log.take(newest))
    assert recommender.fitted is not None and recommender.fitted.best["hr@10"] > 0.9


def test_buckets_keep_every_row_that_has_something_to_learn() -> None:
    draw = np.random.default_rng(2)
    lists = [draw.integers(2, ROWS, length).tolist() for length in (1, 2, 3, 5, 9, 12)]
    groups = bucketed([sequences(Histories.of(lists[:3]), 12), sequences(Histories.of(lists[3:]), 12)][1:], [4, 8])
    found = [row[row > 0].tolist() for group in groups for row in group.items]
    assert found == lists[3:]
    assert [group.items.shape[1] for group in groups] == [8, 12]


def test_the_store_has_a_fixed_size_and_draws_what_it_holds() -> None:
    store, log = HistoryStore(USERS, width=20), stream(900)
    for first in range(0, 900, 50):
        store.extend(log.take(slice(first, first + 50)), before_each(log, first, first + 50))
    assert store.columns.items.shape == (USERS, 20)
    drawn = store.draw(500, 8, np.random.default_rng(1))
    assert 400 < drawn.sequences().target_weights.sum() < 600
    for user, row in zip(drawn.users, drawn.items, strict=True):
        newest = log.items[log.users == user][-20:].tolist()
        real = row[row > 0].tolist()
        assert any(newest[at : at + len(real)] == real for at in range(len(newest)))
    assert len(HistoryStore(3, 5).draw(10, 4, np.random.default_rng(1)).users) == 0, "nothing stored, nothing drawn"


def test_users_who_meet_in_a_slot_take_turns() -> None:
    store = HistoryStore(10, width=4, most_users=2)
    log = interactions(np.array([1, 3, 1]), np.array([5, 6, 7]))
    for event in range(3):
        store.extend(log.take(slice(event, event + 1)), before_each(log, event, event + 1))
    assert store.columns.items[1].tolist() == [0, 0, 5, 7] and store.columns.users[1] == 1


@pytest.mark.parametrize("name", ["sasrec", "sasrec-bce"])
def test_it_is_found_by_name_and_made_alike_from_one_seed(name: str) -> None:
    setting = Setting(rows=ROWS, user_count=USERS, seed=3)
    one, two = recommenders()[name](setting), recommenders()[name](setting)
    assert isinstance(one, SequenceRecommender) and isinstance(two, SequenceRecommender)
    log = stream(300)
    one.learn(log, before_each(log, 0, 300))
    two.learn(log, before_each(log, 0, 300))
    assert torch.equal(one.learner.ranker.items.weight, two.learner.ranker.items.weight)


def test_one_history_scores_as_many_do() -> None:
    recommender = recommenders()["sasrec"](Setting(rows=ROWS, user_count=USERS))
    walk(recommender, stream(200))  # type: ignore[arg-type]
    histories = Histories.of([[3, 4, 5], [], [7], list(range(2, ROWS)) * 2])
    alone = [recommender.score(histories.take(np.array([place])))[0] for place in range(4)]
    np.testing.assert_allclose(np.stack(alone), recommender.score(histories), atol=1e-4)


def test_a_stream_has_rates_of_its_own() -> None:
    recommender = make()
    recommender.online = Online(micro_batch=32, rate=5e-3, table_rate=7e-3)
    log = stream(100)
    walk(recommender, log)
    assert [group["lr"] for group in recommender.learner.optimizer.param_groups] == [7e-3, 5e-3]
    recommender.fit(log.take(slice(0, 60)), log.take(slice(60, 100)))
    assert [group["lr"] for group in recommender.learner.optimizer.param_groups] == [1e-2, 1e-2]


def test_rows_of_a_large_catalogue_take_longer_steps() -> None:
    recommenders_ = [recommenders()["sasrec"](Setting(rows=rows, user_count=2)) for rows in (ROWS, 5_000)]
    rates = [recommender.online.table_rate for recommender in recommenders_]  # type: ignore[attr-defined]
    assert rates[0] < rates[1]
