from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

from online_models.bucketing import sequences
from online_models.checks import SIZES, check_graphs_agree, check_padding_changes_nothing, example_batch
from online_models.encoders.merge import Concatenated, Summed
from online_models.evaluation.interactions import Histories
from online_models.learner import TorchLearner, seeded
from online_models.objectives.causal import Causal
from online_models.objectives.exercise import Objective
from online_models.objectives.masked import Masked
from online_models.objectives.permuted import Permuted
from online_models.objectives.replaced_token import ReplacedToken
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.transformers4rec import Transformers4Rec

OBJECTIVES: dict[str, Objective] = {
    "causal": Causal(),
    "masked": Masked(),
    "permuted": Permuted(),
    "replaced": ReplacedToken(),
}
each = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def ranker(objective: Objective, merge: Callable[..., torch.nn.Module] = Summed, **sizes: int) -> Transformers4Rec:
    with seeded(1):
        config = Transformers4Rec.Config(catalog_rows=SIZES.rows, dimension=16, dropout=0.0, history=10, **sizes)
        return Transformers4Rec(config, objective, merge)


def rings(starts: list[int], length: int) -> Histories:
    """Twelve items that follow each other in a circle, from each of these starts."""
    return Histories.of([[2 + (start + step) % 12 for step in range(length)] for start in starts])


@each
def test_next_item_is_learnt(objective: Objective) -> None:
    """Items follow each other in a ring, all equally popular."""
    learner = SequenceLearner(ranker(objective, layers=1), negatives=32, seed=3)
    learner.optimizer.param_groups[0]["lr"] = 0.005
    draw = torch.Generator().manual_seed(1)
    for _ in range(250):
        learner.learn_sequences(sequences(rings(torch.randint(0, 12, (32,), generator=draw).tolist(), 6), 10))
    asked = sequences(rings(list(range(12)), 5), 10)
    found = (learner.states(asked) @ learner.ranker.items.weight[2:14].T).argmax(1)
    assert (found == (torch.arange(12) + 5) % 12).float().mean() > 0.8


def test_replaced_items_are_recognised() -> None:
    """In a ring an item that does not follow its neighbour is a replaced one."""
    objective = ReplacedToken(share=0.3, newest_share=0.0, detection_weight=10.0)
    learner = SequenceLearner(ranker(objective), negatives=0, seed=3)
    learner.optimizer.param_groups[0]["lr"] = 0.003
    model, draw = learner.ranker, torch.Generator().manual_seed(2)
    assert isinstance(model, Transformers4Rec)

    def drawn(users: int) -> Sequences:
        return sequences(rings(torch.randint(0, 12, (users,), generator=draw).tolist(), 6), 10)

    for _ in range(250):
        learner.learn_sequences(drawn(32))
    given = drawn(200)
    with torch.no_grad(), seeded(9):
        _, judged = objective.exercises(given, lambda e: torch.randint_like(e.items, 2, 14))
        said = model.core.detector(model._states(judged)).squeeze(-1)
    real, fake = said[~judged.replaced], said[judged.replaced]
    assert (fake[:, None] > real[None, :]).float().mean() > 0.9  # area under the ROC curve


@each
@pytest.mark.parametrize("merge", [Concatenated, Summed])
def test_side_information_reaches_the_state(objective: Objective, merge: Callable[..., torch.nn.Module]) -> None:
    model, context = ranker(objective, merge), example_batch().context
    model.eval()
    before = model.embed_context(context)
    for row in range(2, SIZES.rows):
        model.set_categories(row, [row % 3])
    after = model.embed_context(context)
    assert not torch.allclose(before, after, atol=1e-5)
    sequences_ = sequences(Histories.of([[5, 6]], times_seconds=[[0.0, 10.0]], actions=[[1, 1]]), 10)
    later = sequences(Histories.of([[5, 6]], times_seconds=[[0.0, 9e5]], actions=[[1, 1]]), 10)
    other = sequences(Histories.of([[5, 6]], times_seconds=[[0.0, 10.0]], actions=[[1, 3]]), 10)
    state = model.newest_state(sequences_)
    assert not torch.allclose(model.newest_state(later), state, atol=1e-5)
    assert not torch.allclose(model.newest_state(other), state, atol=1e-5)


def test_categories_of_a_row_are_replaced_whole_and_forgotten() -> None:
    model = ranker(Causal())
    model.set_categories(5, [1, 2])
    model.set_categories(5, [3])
    assert model.item_categories[5].nonzero().squeeze(1).tolist() == [3]
    TorchLearner(model).forget(torch.tensor([5]))
    assert not model.item_categories[5].any()


def test_graph_and_padding_hold_with_a_hidden_place() -> None:
    def make() -> TorchLearner:
        return TorchLearner(ranker(Masked(), layers=1))

    check_padding_changes_nothing(make)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.onnx")
        check_graphs_agree(make)


@each
def test_resume_goes_on_exactly(objective: Objective) -> None:
    given = sequences(Histories.of([[5, 6, 7, 8], [9, 10, 11]]), 10)
    first, second = (SequenceLearner(ranker(objective), negatives=8, seed=2) for _ in range(2))
    for _ in range(3):
        first.learn_sequences(given)
    second.load_state_dict(first.state_dict())
    assert first.learn_sequences(given) == second.learn_sequences(given)
    assert torch.equal(first.ranker.items.weight, second.ranker.items.weight)
