from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.foundation.histories import HistoryStore
from online_models.foundation.windows import all_sliding, fixed_latest, mixed
from online_models.sequences import Sequences
from tests.online_models.foundation.planted import NEWCOMER, learner, newcomer_places, observe, world


def test_rules_take_equal_steps_over_the_same_users() -> None:
    seen = {}
    for name, rule in {"fixed": fixed_latest(10), "all": all_sliding(10), "mixed": mixed(20, 10)}.items():
        store, made = Noted(world(users=50, events=40)), learner()
        observe(made, store.store)
        epoch = made.fit(store, rule, steps=7)  # type: ignore[arg-type]
        seen[name] = store.users_cut
        assert made.steps == 7 and epoch == 4  # two batches an epoch
    assert seen["fixed"] == seen["all"] == seen["mixed"]


class Noted:
    """A store that notes whose windows are cut."""

    def __init__(self, store: HistoryStore) -> None:
        self.store, self.users_cut = store, list[int | str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def cut(self, users: list[int | str], *given: Any) -> Sequences:
        self.users_cut += users
        return self.store.cut(users, *given)


def test_a_new_item_is_ranked_by_its_metadata_alone() -> None:
    """Newcomers are never taken, so their ids are never trained; masking makes metadata carry their group."""
    store, made = world(), learner()
    observe(made, store)
    before = newcomer_places(made, store)
    made.fit(store, fixed_latest(10), steps=80)
    places = newcomer_places(made, store)
    assert float(made.model.item_encoder.sightings[torch.from_numpy(NEWCOMER)].sum()) == 0
    assert (places == 0).mean() > 0.9, "chance is one in six"
    assert (before == 0).mean() < 0.5


def test_fit_stops_where_it_is_told_to() -> None:
    store, made = world(), learner()
    observe(made, store)
    made.fit(store, fixed_latest(10), steps=50, after_step=lambda step, plotted: step == 3)
    assert made.steps == 3


def test_nothing_to_learn_is_no_step() -> None:
    store, made = world(users=2, events=1), learner()
    assert made.fit(store, fixed_latest(10), steps=5, first_epoch=4) == 4
    assert made.learn(store.cut([0], np.zeros(1, np.int64), 10)) == {"loss": 0.0}
    assert made.steps == 0


def test_negatives_are_items_that_were_seen_and_their_log_q_is_right() -> None:
    made = learner()
    made.observe(np.array([3] * 90 + [4] * 10), np.zeros(100))
    items, log_q = made._negatives()
    assert items is not None and log_q is not None
    assert set(items.tolist()) <= {3, 4}
    powers = np.array([90**0.75, 10**0.75])
    share = 0.5 * 0.5 + 0.5 * powers[0] / powers.sum()
    assert log_q[items == 3][0].item() == pytest.approx(np.log(64 * share), abs=1e-4)
    assert (items == 3).float().mean().item() == pytest.approx(share, abs=0.2)


def test_resume_is_exact() -> None:
    store, made = world(), learner()
    observe(made, store)
    made.fit(store, mixed(20, 10), steps=5)
    resumed = learner(seed=1)
    resumed.load_state_dict(state_tree.unpack(*state_tree.pack(made.state_dict())))
    for one in (made, resumed):
        one.fit(store, mixed(20, 10), steps=5, first_epoch=3)
    assert state_tree.equal(made.state_dict(), resumed.state_dict())


def test_a_row_whose_item_left_starts_afresh() -> None:
    store, made = world(), learner()
    observe(made, store)
    made.fit(store, fixed_latest(10), steps=3)
    made.forget(np.array([3]))
    encoder = made.model.item_encoder
    assert float(encoder.sightings[3]) == 0 and not encoder.tokens[3].any()
    assert torch.equal(made.model.items.weight[3], made.model.items.weight[1])
