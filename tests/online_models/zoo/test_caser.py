from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from online_models.bucketing import sequences
from online_models.evaluation.interactions import Histories
from online_models.learner import seeded
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.caser import Caser


def ranker(**sizes: int) -> Caser:
    with seeded(1):
        defaults = {"catalog_rows": 64, "users": 16, "dimension": 6, "window": 4}
        made = Caser(Caser.Config(**{**defaults, **sizes})).eval()  # type: ignore[arg-type]
        torch.nn.init.normal_(made.inputs.weight[1:])
    return made


def history(*items: int, user: int = 0) -> Sequences:
    return sequences(Histories.of([list(items)], users=[user]), 50)


def by_hand(model: Caser, items: list[int], user: int) -> Tensor:
    """One window, filter by filter."""
    size, core = model.config.window, model.core
    image = torch.zeros(size, model.config.dimension)  # [L, D]
    recent = items[-size:]
    image[size - len(recent) :] = model.inputs.weight[recent]
    strongest = []
    for height, conv in enumerate(core.horizontal, start=1):
        for weight, bias in zip(conv.weight, conv.bias, strict=True):  # weight [D, h]
            answers = [(image[t : t + height] * weight.T).sum() + bias for t in range(size - height + 1)]
            strongest.append(max(F.relu(answer) for answer in answers))
    columns = [
        (image * weight.reshape(size, 1)).sum(0) + bias  # [D]
        for weight, bias in zip(core.vertical.weight, core.vertical.bias, strict=True)
    ]
    mixed = F.relu(core.mix(torch.cat([torch.stack(strongest), *columns])))
    return torch.cat([mixed, model.users.weight[user], torch.ones(1)])


@pytest.mark.parametrize("items", [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8], [5, 6], [5]])
def test_state_is_the_convolutions_of_the_last_window(items: list[int]) -> None:
    model = ranker()
    expected = by_hand(model, items, user=3)
    assert torch.allclose(model.newest_state(history(*items, user=3))[0], expected, atol=1e-5)


def test_every_position_has_its_own_window() -> None:
    model, items = ranker(), [5, 6, 7, 8, 9, 10, 11]
    states = model.encode(history(*items, user=2))[0]  # [T, 2 D + 1]
    for place in range(len(items)):
        assert torch.allclose(states[place], by_hand(model, items[: place + 1], user=2), atol=1e-5)


def test_score_holds_user_taste_and_item_bias() -> None:
    model = ranker()
    with torch.no_grad():
        model.items.weight[20] = 0
        model.items.weight[20, -1] = 2.5  # bias alone
        model.items.weight[21] = 0
        model.items.weight[21, 6:12] = model.users.weight[3]  # taste alone
    state = model.newest_state(history(5, 6, user=3))[0]
    assert float(state @ model.items.weight[20]) == pytest.approx(2.5)
    assert float(state @ model.items.weight[21]) == pytest.approx(float(model.users.weight[3].square().sum()))


def test_next_targets_of_every_position_are_trained() -> None:
    model, pairs = ranker(targets=2), []

    def record(states: Tensor, targets: Tensor, weights: Tensor, *rest: Tensor) -> Tensor:
        pairs.extend(zip(states.tolist(), targets.tolist(), weights.tolist(), strict=True))
        return states.sum()

    given = sequences(Histories.of([[5, 6, 7, 8], [9, 10]]), 50)
    given = replace(given, target_weights=given.target_weights * 2)
    model.sequence_loss(given, torch.tensor([2]), torch.zeros(1), record)
    states = model.encode(given.without_newest())
    expected = {(0, 0, 6), (0, 1, 7), (0, 2, 8), (0, 0, 7), (0, 1, 8), (1, 2, 10)}  # user, position, target
    found = {
        (user, position, target)
        for state, target, weight in pairs
        for user in range(2)
        for position in range(3)
        if weight == 2 and torch.allclose(states[user, position], torch.tensor(state)) and (user or position < 3)
    }
    assert len(pairs) == len(expected)
    assert expected <= found


def test_union_level_pattern_is_learnt() -> None:
    """The next item is told by the last two together: neither alone, nor popularity, knows it."""
    model = ranker(dimension=16, targets=1, users=1)
    learner = SequenceLearner(model, negatives=0, seed=2)
    learner.optimizer.param_groups[0]["lr"] = 0.01
    pairs = [[a, b, 20 + (a + b) % 4] for a in range(2, 6) for b in range(6, 10)]
    for _ in range(150):
        learner.learn_sequences(
            sequences(Histories.of(pairs, users=[0] * len(pairs)), 50, np.ones(len(pairs), np.int64))
        )
    asked = sequences(Histories.of([pair[:2] for pair in pairs], users=[0] * len(pairs)), 50)
    found = (learner.states(asked) @ model.items.weight[20:24].T).argmax(1).detach() + 20
    assert (found == torch.tensor([pair[2] for pair in pairs])).float().mean() > 0.9


def test_forget_gives_both_tables_a_fresh_row() -> None:
    learner = SequenceLearner(ranker(), negatives=4)
    learner.learn_sequences(history(5, 6, 7))
    learner.forget(torch.tensor([6]))
    model = learner.ranker
    assert isinstance(model, Caser)
    assert torch.equal(model.inputs.weight[6], model.inputs.weight[1])
    assert torch.equal(model.items.weight[6], model.items.weight[1])
