from __future__ import annotations

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.foundation.histories import HistoryStore
from online_models.foundation.incremental import plan, refresh, start_new_items
from online_models.foundation.windows import fixed_latest
from tests.online_models.foundation.planted import GROUPS, NEWCOMER, group_of, learner, observe, world


def grown(store: HistoryStore, users: list[int], events: int) -> HistoryStore:
    store.learnt()
    for user in users:
        for event in range(events):
            store.append(user, 5, 1, 1e6 + event)
    return store


def test_every_fresh_event_is_a_target_once_and_old_ones_only_where_replayed() -> None:
    store = grown(world(users=8, events=30), users=[1, 2], events=17)
    wanted = plan(store, length=10, replay_share=0.0, refresh=3)
    windows = store.cut(wanted.users, wanted.starts, 10, only_fresh=wanted.only_fresh)
    targets = windows.target_weights > 0
    assert set(wanted.users) == {1, 2} and wanted.only_fresh.all()
    assert int(targets.sum()) == 34 and (windows.times_seconds[targets] >= 1e6).all()


def test_share_of_replayed_windows_and_their_places() -> None:
    store = grown(world(users=60, events=30), users=list(range(30)), events=3)
    first, again, other = (plan(store, 10, 0.5, refresh=number) for number in (1, 1, 2))
    assert (~first.only_fresh).sum() == 30 and first.only_fresh.sum() == 30
    assert first.users == again.users and first.starts.tolist() == again.starts.tolist()
    assert first.starts[~first.only_fresh].tolist() != other.starts[~other.only_fresh].tolist()
    lengths = store.lengths(first.users)
    assert (first.starts >= 0).all() and (first.starts + 10 <= lengths).all()
    assert len(set(first.starts[~first.only_fresh].tolist())) > 5


def test_a_refresh_learns_what_is_new_and_leaves_nothing_fresh() -> None:
    made, store = learner(), world()
    observe(made, store)
    made.fit(store, fixed_latest(10), steps=20)
    grown(store, users=list(range(60)), events=4)
    made.observe(np.full(240, 5), np.full(240, 1e6))
    windows = store.cut([1], store.lengths([1]) - 10, 10)

    def share() -> float:
        scores = made.user_vectors(windows) @ made.item_vectors().T
        return float(scores.softmax(-1)[0, 5])

    before = share()
    plots = [refresh(made, store, number, replay_share=0.4) for number in range(1)]
    assert share() > before
    assert plots[0]["replayed"] == pytest.approx(0.4 * plots[0]["windows"], abs=1)
    assert store.fresh_users() == [] and len(plan(store, 10, 0.4, 2)) == 0


def test_a_refresh_repeated_after_a_crash_is_the_same() -> None:
    states = []
    for _ in range(2):
        made, store = learner(), world(users=12)
        observe(made, store)
        refresh(made, store, 0)
        states.append(made.state_dict())
    assert state_tree.equal(*states)


def test_new_items_start_near_their_category() -> None:
    made, store = learner(id_mask_rate=0.3), world()
    observe(made, store)
    made.fit(store, fixed_latest(10), steps=60)
    start_new_items(made.model, torch.from_numpy(NEWCOMER), torch.Generator().manual_seed(1))
    known = torch.nonzero(made.model.item_encoder.sightings > 0).squeeze(1)
    table = torch.nn.functional.normalize(made.model.items.weight.detach(), dim=-1)
    likeness = (table[torch.from_numpy(NEWCOMER)] @ table[known].T).numpy()  # [groups, K]
    own = group_of(known.numpy())[None, :] == np.arange(GROUPS)[:, None]
    for group in range(GROUPS):
        assert likeness[group][own[group]].mean() > likeness[group][~own[group]].mean() + 0.2


def test_a_first_item_has_nobody_to_start_near() -> None:
    made = learner()
    before = made.model.items.weight.detach().clone()
    start_new_items(made.model, torch.tensor([4]), torch.Generator())
    assert torch.equal(made.model.items.weight, before)


def test_an_item_without_metadata_starts_at_the_mean() -> None:
    made, store = learner(), world()
    observe(made, store)
    made.model.item_encoder.tokens[NEWCOMER[0]] = 0
    start_new_items(made.model, torch.tensor([int(NEWCOMER[0])]), torch.Generator(), noise=0.0)
    known = torch.nonzero(made.model.item_encoder.sightings > 0).squeeze(1)
    assert torch.allclose(made.model.items.weight[NEWCOMER[0]], made.model.items.weight[known].mean(0), atol=1e-6)


def test_bad_share_is_named() -> None:
    with pytest.raises(ValueError, match=r"replay_share is 1"):
        plan(world(users=2), 10, 1.0, 0)
