from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting, recommenders
from online_models.recommenders.hstu import LONG, hstu, hstu_learner, hstu_long
from online_models.recommenders.sequential import SequenceRecommender
from online_models.sequence_fitting import Fitting

ITEMS = 12


def circle(users: int, events: int) -> Interactions:
    """Everybody goes round the items in the same order, from another start: popularity knows nothing."""
    starts = np.arange(users)[:, None]
    items = (starts + np.arange(events)) % ITEMS + 2  # [users, events]
    count = users * events
    return Interactions(
        users=np.repeat(np.arange(users), events),
        items=items.reshape(-1).astype(np.int64),
        times_seconds=np.tile(np.arange(events, dtype=np.float64) * 3600, users),
        actions=np.ones(count, np.int64),
        values=np.full(count, np.nan, np.float32),
        tested=np.ones(count, bool),
        rows=ITEMS + 2,
        user_count=users,
    )


def test_is_found_by_name() -> None:
    assert recommenders()["hstu"] is hstu and recommenders()["hstu-long"] is hstu_long


def test_learner_is_seeded() -> None:
    setting = Setting(rows=ITEMS + 2, user_count=3, seed=5)
    one, other = hstu_learner(setting, dimension=8), hstu_learner(setting, dimension=8)
    assert torch.equal(one.ranker.items.weight, other.ranker.items.weight)


def test_fit_learns_what_follows() -> None:
    setting = Setting(rows=ITEMS + 2, user_count=36)
    model = SequenceRecommender(
        lambda: hstu_learner(setting, rate=1e-2, negatives=8, dimension=16, dropout=0.0),
        setting,
        fitting=Fitting(epochs=25, batch_positions=64),
    )
    model.fit(circle(users=36, events=6))
    histories = Histories.of([[2, 3, 4], [8, 9, 10]], now_seconds=[7200.0, 7200.0])
    assert model.score(histories)[:, 2:].argmax(1).tolist() == [3, 9]


def test_the_long_one_learns_cut_histories_and_reads_whole_ones() -> None:
    log = circle(users=2, events=LONG + 1)
    model = hstu_long(Setting(rows=ITEMS + 2, user_count=2))
    model._fitting = replace(model._fitting, epochs=1)
    model.fit(log)
    learnt = model.learner.counts.sum().item()
    assert learnt < 2 * LONG, "some events of the epoch were left out"
    old, new = ([2] + [3] * (LONG - 1), [4] + [3] * (LONG - 1))
    scores = model.score(Histories.of([old, new], now_seconds=[0.0, 0.0]))
    assert not np.array_equal(scores[0], scores[1]), "the oldest of 200 events is read"
