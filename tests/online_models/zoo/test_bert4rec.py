from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from online_models.bucketing import sequences
from online_models.checks import example_batch
from online_models.evaluation.interactions import Histories
from online_models.learner import seeded
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.bert4rec import BERT4Rec


def ranker(**sizes: float) -> BERT4Rec:
    with seeded(1):
        made = BERT4Rec(BERT4Rec.Config(catalog_rows=64, dimension=16, dropout=0.0, history=10, **sizes)).eval()
        torch.nn.init.normal_(made.items.weight, std=0.5)
    return made


def history(*items: int) -> Sequences:
    return sequences(Histories.of([list(items)]), 10)


def masked_state(model: BERT4Rec, given: Sequences, place: int) -> Tensor:
    hidden = torch.zeros_like(given.mask)
    hidden[:, place] = True
    return model._states(given, hidden)[0, place]


def test_prediction_sees_both_sides_and_not_what_is_under_the_mask() -> None:
    model = ranker()
    state = masked_state(model, history(5, 6, 7, 8), 2)
    assert torch.equal(masked_state(model, history(5, 6, 9, 8), 2), state)  # under the mask
    assert not torch.allclose(masked_state(model, history(9, 6, 7, 8), 2), state, atol=1e-3)  # before it
    assert not torch.allclose(masked_state(model, history(5, 6, 7, 9), 2), state, atol=1e-3)  # behind it


def test_training_states_do_not_know_what_is_under_their_masks() -> None:
    model, given = ranker(mask_share=1.0, newest_share=0.0), history(5, 6, 7, 8, 9)
    states: list[Tensor] = []

    def record(chosen: Tensor, *rest: Tensor) -> Tensor:
        states.append(chosen)
        return chosen.sum()

    # every event but the first is hidden, so all that is changed lies under masks
    for items in (given.items, torch.where(given.target_weights > 0, given.items + 20, given.items)):
        model.sequence_loss(replace(given, items=items), torch.tensor([2]), torch.zeros(1), record)
    assert states[0].shape == (4, 16)
    assert torch.equal(states[0], states[1])


def test_scoring_asks_by_a_mask_behind_the_history() -> None:
    model = ranker()
    asked = model.newest_state(history(5, 6, 7))
    # the same as hiding a fourth event, whatever it is
    assert torch.allclose(masked_state(model, history(5, 6, 7, 30), 3), asked[0], atol=1e-5)


def test_encode_is_not_causal() -> None:
    model = ranker()
    first, second = model.encode(history(5, 6, 7)), model.encode(history(5, 6, 8))
    assert not torch.allclose(first[0, 0], second[0, 0], atol=1e-4)


def test_histories_longer_than_the_window_score() -> None:
    assert torch.isfinite(ranker().embed_context(example_batch(history=30).context)).all()


def test_masks_are_drawn_from_the_seeded_generator() -> None:
    def trained() -> Tensor:
        learner = SequenceLearner(ranker(), negatives=8, seed=5)
        for _ in range(3):
            learner.learn_sequences(history(5, 6, 7, 8))
        return learner.ranker.items.weight.detach()

    assert torch.equal(trained(), trained())


def test_gap_is_filled_from_what_follows() -> None:
    """The hidden event is told by the one behind it alone: a causal model could not know it."""
    learner = SequenceLearner(ranker(mask_share=0.3), negatives=0, seed=1)
    learner.optimizer.param_groups[0]["lr"] = 0.01
    draw = torch.Generator().manual_seed(1)
    with seeded(1):
        for _ in range(120):
            middle = torch.randint(2, 10, (64,), generator=draw)
            given = Histories.of([[30, m, m + 20] for m in middle.tolist()])
            learner.learn_sequences(sequences(given, 10))
    held = sequences(Histories.of([[30, m, m + 20] for m in range(2, 10)]), 10)
    hidden = torch.zeros_like(held.mask)
    hidden[:, 1] = True
    with torch.no_grad():
        found = (learner.ranker._states(held, hidden)[:, 1] @ learner.ranker.items.weight[2:30].T).argmax(1) + 2
    assert (found == torch.arange(2, 10)).float().mean() > 0.8


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extreme_shares_train(share: float) -> None:
    learner = SequenceLearner(ranker(mask_share=share), negatives=8)
    losses = [learner.learn_sequences(history(5, 6, 7, 8))["loss"] for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
