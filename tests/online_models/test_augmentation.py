from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from online_models.augmentation import duration_weights, forget_beginnings, lose_events, thin_histories
from online_models.bucketing import sequences
from online_models.checks import example_batch
from online_models.evaluation.interactions import Histories
from online_models.sequences import Sequences


def many(users: int = 200) -> Sequences:
    items = [[10 + user, 2, 3, 4, 5] for user in range(users)]
    return sequences(Histories.of(items, times_seconds=[[0.0, 1.0, 2.0, 3.0, 4.0]] * users), 8)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_shape(cut: Sequences) -> None:
    """Right-aligned, and nothing without an event before it is a target."""
    real = cut.mask
    assert (real[:, 1:] | ~real[:, :-1]).all(), "an event stands before padding"
    first = real & (real.cumsum(1) == 1)
    assert (cut.target_weights[first] == 0).all() and (cut.target_weights[~real] == 0).all()
    assert (cut.target_weights[real & ~first] == 1).all()


def test_beginnings_are_forgotten_in_a_share_of_the_histories() -> None:
    whole = many()
    whole = replace(whole, target_weights=whole.target_weights * (torch.arange(5) >= 3))  # the newest two are targets
    cut = forget_beginnings(whole, 0.5, draw())
    kept = cut.mask.sum(1)
    assert set(kept.tolist()) == {3, 4, 5} and 40 < (kept < 5).sum() < 100
    assert torch.equal(cut.target_weights, whole.target_weights), "no target is lost, and each has an event before it"
    for row in range(len(kept)):
        assert torch.equal(cut.items[row, -kept[row] :], whole.items[row, -kept[row] :]), "the newest events stay"
        assert torch.equal(cut.times_seconds[row, -kept[row] :], whole.times_seconds[row, -kept[row] :])


def test_where_every_event_is_a_target_nothing_is_forgotten() -> None:
    whole = many()
    assert torch.equal(forget_beginnings(whole, 1.0, draw()).items, whole.items)


def test_lost_events_close_ranks() -> None:
    cut = lose_events(many(), 0.3, draw())
    check_shape(cut)
    assert (cut.items[:, -1] == 5).all(), "the newest event is never lost"
    assert cut.mask.sum(1).double().mean().item() == pytest.approx(1 + 4 * 0.7, abs=0.2)
    for row in cut.items.tolist():
        kept = [item for item in row if 0 < item < 10]
        assert kept == sorted(kept), "the order stays"


def test_nothing_is_lost_where_nothing_shall_be() -> None:
    whole = many()
    for same in (forget_beginnings(whole, 0.0, draw()), lose_events(whole, 0.0, draw())):
        assert torch.equal(same.items, whole.items) and torch.equal(same.target_weights, whole.target_weights)


def test_same_seed_same_draw_and_the_given_stays() -> None:
    whole = many()
    before = whole.items.clone()
    assert torch.equal(lose_events(whole, 0.5, draw(3)).items, lose_events(whole, 0.5, draw(3)).items)
    assert torch.equal(whole.items, before)


def test_histories_of_a_batch_are_thinned() -> None:
    batch = example_batch(seed=1, examples=64)
    thin = thin_histories(batch, 0.5, draw())
    left, right = batch.context, thin.context
    assert 0 < (right.history_items > 0).sum() < (left.history_items > 0).sum()
    for row in range(64):
        had = list(zip(left.history_items[row].tolist(), left.history_ages_seconds[row].tolist(), strict=True))
        kept = [
            pair
            for pair in zip(right.history_items[row].tolist(), right.history_ages_seconds[row].tolist(), strict=True)
            if pair[0]
        ]
        places = [had.index(pair) for pair in kept]
        assert places == sorted(places), "events stay together with their ages, in order"
    assert torch.equal(thin.candidates.items, batch.candidates.items) and torch.equal(thin.labels, batch.labels)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        lose_events(many(2), share, draw())


def test_durations() -> None:
    weights = duration_weights(torch.tensor([60.0, 0.0, 60.0 * 7, torch.nan]), usual_seconds=60.0)
    assert weights.tolist() == pytest.approx([1.0, 0.0, 3.0, 1.0])
    with pytest.raises(ValueError, match="above 0"):
        duration_weights(torch.ones(1), usual_seconds=0.0)
