from __future__ import annotations

import numpy as np
import torch

from online_models.bucketing import sequences
from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting, recommenders
from online_models.recommenders.in_session import RECOMMENDERS, category_table, intent_recommender

NAMES = ("intent-rec", "intent-rec-single-task", "intent-rec-multi-task", "intent-rec-no-window", "intent-rec-sparse")


def log(events: int = 400, users: int = 10) -> Interactions:
    """Every user walks 2, 3, … 9 and round again, from a place of their own."""
    who = np.arange(events) % users
    step = np.arange(events) // users
    return Interactions(
        users=who,
        items=2 + (step + who) % 8,
        times_seconds=60.0 * np.arange(events),
        actions=np.ones(events, np.int64),
        values=np.full(events, np.nan, np.float32),
        tested=np.ones(events, bool),
        rows=10,
        user_count=users,
        item_categories=[(), (), *((0, 1 + row % 2) for row in range(8))],
        category_names=["all", "even", "odd"],
    )


def setting(sample: Interactions | None = None) -> Setting:
    return Setting(rows=10, user_count=10, repeats=True, sample=sample)


def test_they_are_found_by_name() -> None:
    assert set(NAMES) == set(RECOMMENDERS) and set(NAMES) <= set(recommenders())


def test_the_variants_are_one_model_composed_differently() -> None:
    cores = {name: RECOMMENDERS[name](setting(log())).ranker.core for name in NAMES}  # type: ignore[attr-defined]
    told = {
        name: (len(core.outputs), core.feed is not None, core.short_term is not None) for name, core in cores.items()
    }
    assert told == {
        "intent-rec": (4, True, True),
        "intent-rec-single-task": (0, False, True),
        "intent-rec-multi-task": (4, False, True),
        "intent-rec-no-window": (4, True, False),
        "intent-rec-sparse": (4, True, True),
    }


def test_what_every_item_has_is_no_category() -> None:
    table = category_table(log(), rows=10)
    assert table.shape == (10, 2) and table[2:].sum(1).tolist() == [1] * 8 and not table[:2].any()


def test_without_a_catalogue_there_is_nothing_to_say() -> None:
    assert category_table(None, rows=10).sum() == 0


def test_an_item_is_dated_by_its_first_event_and_not_before() -> None:
    model, stream = intent_recommender(setting(log())), log()
    assert torch.isneginf(model.ranker.item_published_seconds).all()
    model.learn(stream.take(slice(0, 3)), Histories.of([[], [], []], users=[0, 1, 2]))
    dates = model.ranker.item_published_seconds
    assert dates[2:5].tolist() == [0.0, 60.0, 120.0] and torch.isneginf(dates[5:]).all()


def test_a_date_of_the_catalogue_stays() -> None:
    published = np.full(10, np.nan)
    published[3] = -5.0
    stream = log()
    sample = Interactions(**{**vars(stream), "item_published_seconds": published})
    model = intent_recommender(setting(sample))
    model.learn(stream.take(slice(0, 3)), Histories.of([[], [], []], users=[0, 1, 2]))
    assert model.ranker.item_published_seconds[2:5].tolist() == [0.0, -5.0, 120.0]


def test_beginnings_are_forgotten_while_learning_sparse_sessions() -> None:
    learner = RECOMMENDERS["intent-rec-sparse"](setting(log())).learner  # type: ignore[attr-defined]
    learner.forgotten, seen = 1.0, []
    loss = learner.ranker.sequence_loss
    learner.ranker.sequence_loss = lambda group, *rest: (seen.append(group.mask.sum().item()), loss(group, *rest))[1]
    whole = sequences(Histories.of([list(range(2, 10))] * 50), 8, np.ones(50, np.int64))
    assert learner.learn_sequences(whole)["targets"] == 50 and seen[0] < 50 * 8


def test_it_learns_the_planted_walk_online() -> None:
    model, stream = intent_recommender(setting(log())), log(1_600)
    asked = Histories.of([[4, 5, 6], [7, 8, 9]], times_seconds=[[0.0, 600.0, 1_200.0]] * 2, now_seconds=[1_800.0] * 2)
    known: list[list[int]] = [[] for _ in range(10)]
    when: list[list[float]] = [[] for _ in range(10)]
    for first in range(0, len(stream), 40):
        events, items, times = stream.take(slice(first, first + 40)), [], []
        for user, item, time in zip(
            events.users.tolist(), events.items.tolist(), events.times_seconds.tolist(), strict=True
        ):
            items.append(list(known[user]))
            times.append(list(when[user]))
            known[user].append(item)
            when[user].append(time)
        model.learn(events, Histories.of(items, times_seconds=times, users=events.users.tolist()))
    assert (model.score(asked)[:, 2:].argmax(1) + 2).tolist() == [7, 2]
