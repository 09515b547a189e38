from __future__ import annotations

import numpy as np
import pytest
import torch

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting
from online_models.recommenders.sequential import Online, sasrec_learner
from streamer.bench.learn import FORMS, EventByEvent, measure

ROWS, USERS = 22, 12


def stream(events: int) -> Interactions:
    """Users walk in a ring of twenty items, each from a place of their own."""
    users = np.random.default_rng(1).integers(0, USERS, events)
    items, place = np.zeros(events, np.int64), np.arange(USERS)
    for event, user in enumerate(users):
        place[user] += 1
        items[event] = place[user] % (ROWS - 2) + 2
    return Interactions(
        users=users,
        items=items,
        times_seconds=np.arange(events, dtype=np.float64),
        actions=np.ones(events, np.int64),
        values=np.full(events, np.nan, np.float32),
        tested=np.ones(events, bool),
        rows=ROWS,
        user_count=USERS,
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_event_is_counted_and_the_clock_runs(form: str) -> None:
    seen: list[int] = []
    threads = torch.get_num_threads()
    found = measure(stream(700), form, threads=1, dimension=8, layers=1, history=6, progress=seen.append)
    assert found.events == sum(seen) == 700
    assert 0 < found.learn_seconds < found.seconds
    assert found.learnt_per_second > found.tested_and_learnt_per_second > 0
    assert {"hr@10", "hr@10_untied", "ndcg@10"} <= set(found.metrics)
    assert torch.get_num_threads() == threads, "threads are given back"


def test_the_plain_form_teaches_one_target_an_event() -> None:
    setting = Setting(rows=ROWS, user_count=USERS)
    recommender = EventByEvent(
        lambda: sasrec_learner(setting, dimension=8, layers=1), setting, history=6, online=Online(replay=0.0)
    )
    log = stream(40)
    lists = [log.items[:event][log.users[:event] == log.users[event]].tolist() for event in range(40)]
    recommender.learn(log, Histories.of(lists, users=log.users.tolist()))
    assert recommender.learner.counts.sum() == sum(1 for one in lists if one)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(KeyError):
        measure(stream(10), "by hand")
