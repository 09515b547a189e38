from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from online_models import state_tree
from online_models.learner import seeded
from online_models.optim import Clippy, Grouped, LazyAdam, clippy_adagrad

SGD = partial(torch.optim.SGD, lr=1.0)


def moved(weight: Tensor, gradient: Tensor, **thresholds: float) -> tuple[Tensor, Tensor]:
    """Weights after a step of SGD at rate 1 under Clippy, and the factor."""
    parameter = nn.Parameter(weight)
    parameter.grad = gradient
    clippy = Clippy(SGD([parameter]), **thresholds)
    clippy.step()
    return parameter.detach(), clippy.factors[parameter]


def test_the_tightest_weight_decides_and_the_direction_stays() -> None:
    # (0.5 * 2 + 0.1) / 4 = 0.275 and (0.5 * 1 + 0.1) / 1 = 0.6
    weight, factor = moved(torch.tensor([2.0, -1.0]), torch.tensor([4.0, -1.0]), relative=0.5, absolute=0.1)
    assert factor.item() == pytest.approx(0.275)
    torch.testing.assert_close(weight, torch.tensor([2.0 - 0.275 * 4, -1.0 + 0.275]))


def test_a_step_within_its_bounds_is_left_to_the_last_bit() -> None:
    weight, gradient = torch.randn(50), 1e-4 * torch.randn(50)
    after, factor = moved(weight.clone(), gradient, relative=0.5, absolute=0.01)
    assert factor.item() == 1 and torch.equal(after, weight - gradient)


def test_weights_of_zero_move_by_the_absolute_threshold() -> None:
    weight, factor = moved(torch.zeros(3), torch.tensor([0.0, 2.0, 1.0]), relative=0.5, absolute=0.01)
    assert factor.item() == pytest.approx(0.005)
    torch.testing.assert_close(weight, torch.tensor([0.0, -0.01, -0.005]))


def test_without_an_absolute_threshold_a_zero_that_stays_holds_nobody_back() -> None:
    weight, factor = moved(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.1]), relative=0.5, absolute=0.0)
    assert factor.item() == 1 and weight.tolist() == pytest.approx([0.0, 0.9])
    weight, factor = moved(torch.tensor([0.0, 1.0]), torch.tensor([0.1, 0.1]), relative=0.5, absolute=0.0)
    assert factor.item() == 0 and weight.tolist() == [0.0, 1.0]


def test_every_touched_row_has_its_own_factor() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    with torch.no_grad():
        table.weight[:] = torch.ones(4, 2)
    clippy = Clippy(SGD(table.parameters()), relative=0.5, absolute=0.0)
    scale = torch.tensor([[1.0, 4.0], [0.1, 0.1], [0.1, 0.1]])
    (table(torch.tensor([3, 1, 1])) * scale).sum().backward()
    clippy.step()
    assert clippy.factors[table.weight].tolist() == pytest.approx([1.0, 0.125]), "rows 1 and 3"
    torch.testing.assert_close(table.weight[1], torch.tensor([0.8, 0.8]))  # met twice, uncut
    torch.testing.assert_close(table.weight[3], torch.tensor([0.875, 0.5]))
    assert torch.equal(table.weight[[0, 2]], torch.ones(2, 2))


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_step_that_is_not_finite_is_not_taken(bad: float) -> None:
    weight, factor = moved(torch.ones(2), torch.tensor([bad, 1.0]))
    assert factor.item() == 0 and weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("thresholds", [{"relative": -0.1}, {"relative": 0.0, "absolute": 0.0}])
def test_thresholds_that_let_nothing_move_are_refused(thresholds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not both 0"):
        Clippy(SGD([nn.Parameter(torch.ones(1))]), **thresholds)


def test_parameters_without_a_gradient_or_without_weights_are_passed_by() -> None:
    idle, empty, used = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(0)), nn.Parameter(torch.ones(2))
    clippy = Clippy(SGD([idle, empty, used]))
    (used.sum() + empty.sum()).backward()
    clippy.step()
    assert list(clippy.factors) == [used] and idle.tolist() == [1, 1]
    clippy.zero_grad()
    clippy.step()
    assert clippy.factors == {}


def test_a_table_of_which_no_row_was_met_is_passed_by() -> None:
    table = nn.Embedding(3, 2, padding_idx=0, sparse=True)
    clippy = Clippy(LazyAdam(table.parameters(), lr=0.1))
    table(torch.tensor([0, 0])).sum().backward()
    before = table.weight.detach().clone()
    clippy.step()
    assert clippy.factors == {} and torch.equal(table.weight, before)


def test_a_closure_is_evaluated_before_the_step() -> None:
    weight = nn.Parameter(torch.ones(1))
    clippy = Clippy(SGD([weight]), relative=0.5)

    def closure() -> Tensor:
        clippy.zero_grad()
        loss = (weight * 3).sum()
        loss.backward()
        return loss

    assert clippy.step(closure).item() == 3 and weight.item() == pytest.approx(0.49)


def system() -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({"table": nn.Embedding(6, 4, sparse=True), "head": nn.Linear(4, 1)})


def grouped(model: nn.ModuleDict) -> Clippy:
    slow, fast = LazyAdam(model["table"].parameters(), lr=0.3), torch.optim.Adagrad(model["head"].parameters(), lr=0.5)
    return Clippy(Grouped(slow, fast))


WRAPPED: dict[str, Callable[[nn.ModuleDict], Clippy]] = {
    "lazy adam": lambda model: Clippy(LazyAdam(model.parameters(), lr=0.3)),
    "adagrad": lambda model: Clippy(torch.optim.Adagrad(model.parameters(), lr=0.5)),
    "grouped": grouped,
    "clippy-adagrad": lambda model: clippy_adagrad(model.parameters(), lr=0.5),
}


def learn(model: nn.ModuleDict, clippy: Clippy, steps: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        clippy.zero_grad()
        rows, target = torch.randint(6, (3,), generator=draw), torch.randn(3, generator=draw)
        (model["head"](model["table"](rows)).squeeze(1) - target).square().sum().backward()
        clippy.step()


@pytest.mark.parametrize("name", WRAPPED)
def test_no_weight_moves_further_than_its_bound_whatever_is_wrapped(name: str) -> None:
    model = system()
    clippy = WRAPPED[name](model)
    cut = False
    for seed in range(20):
        before = copy.deepcopy(model)
        learn(model, clippy, steps=1, seed=seed)
        for old, new in zip(before.parameters(), model.parameters(), strict=True):
            bound = clippy.relative * old.abs() + clippy.absolute
            assert ((new - old).abs() <= bound * (1 + 1e-4) + 1e-7).all()
        cut |= any(float(factor.min()) < 1 for factor in clippy.factors.values())
    assert cut, "the rates are so high that something must have been cut"


@pytest.mark.parametrize("name", WRAPPED)
def test_it_resumes_to_the_last_bit(name: str) -> None:
    model = system()
    clippy = WRAPPED[name](model)
    learn(model, clippy, steps=5, seed=0)
    again = copy.deepcopy(model)
    resumed = WRAPPED[name](again)
    resumed.load_state_dict(copy.deepcopy(clippy.state_dict()))
    learn(model, clippy, steps=5, seed=1)
    learn(again, resumed, steps=5, seed=1)
    assert state_tree.equal(dict(model.state_dict()), dict(again.state_dict()))
    assert state_tree.equal(clippy.state_dict(), resumed.state_dict())
    table = again["table"].weight
    assert resumed.state.get(table), "what forgets a row finds its moments here"


def test_the_rate_can_be_changed_from_outside() -> None:
    weight = nn.Parameter(torch.ones(1))
    clippy = Clippy(SGD([weight]))
    for group in clippy.param_groups:
        group["lr"] = 0.0
    weight.sum().backward()
    clippy.step()
    assert weight.item() == 1


class CrossNetwork(nn.Module):
    """Two layers ``x0 ⊙ W x + x`` before a hidden one: what a burst multiplies, it multiplies three times."""

    def __init__(self) -> None:
        super().__init__()
        self.crosses = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.head = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, first: Tensor) -> Tensor:
        crossed = first
        for layer in self.crosses:
            crossed = first * layer(crossed) + crossed
        scores: Tensor = self.head(crossed).squeeze(1)
        return scores


def losses_around_a_burst(make: Callable[..., torch.optim.Optimizer], seed: int) -> tuple[float, float]:
    """Mean log-loss right before ten batches out of range and of wrong labels, and long after them."""
    with seeded(seed):
        network = CrossNetwork()
    draw = torch.Generator().manual_seed(seed)
    taste, optimizer, losses = 2 * torch.randn(8, generator=draw), make(network.parameters()), []
    for step in range(300):
        features = torch.randn(32, 8, generator=draw)
        labels = (features @ taste > 0).float()
        if 100 <= step < 110:
            features, labels = 30 * features.abs(), 1 - labels
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(network(features), labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return sum(losses[80:100]) / 20, sum(losses[-50:]) / 50


@pytest.mark.parametrize("seed", [0, 1])
def test_a_burst_after_which_adagrad_is_worse_than_a_coin_leaves_clippy_as_it_was(seed: int) -> None:
    adagrad = partial(torch.optim.Adagrad, lr=0.3, initial_accumulator_value=0.1)
    before, after = losses_around_a_burst(adagrad, seed)
    assert before < 0.2 and after > 0.69, "plain Adagrad had learnt, and has not come back"
    for bounded in (lambda parameters: Clippy(adagrad(parameters)), partial(clippy_adagrad, lr=0.3)):
        before, after = losses_around_a_burst(bounded, seed)
        assert before < 0.2 and after < 0.2


def test_the_update_ratio_is_of_the_step_that_was_taken() -> None:
    weight, table = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Embedding(3, 1, sparse=True)
    clippy = Clippy(SGD([weight, table.weight]), relative=0.5, absolute=0.0)
    before = [weight.detach().clone(), table.weight.detach().clone()[[2]]]
    (100 * weight.sum() + 0.001 * table(torch.tensor([2])).sum()).backward()
    clippy.step()
    moved = torch.cat([weight.detach() - before[0], (table.weight.detach()[[2]] - before[1]).flatten()])
    expected = moved.norm() / torch.cat([part.flatten() for part in before]).norm()
    assert clippy.factors[weight] < 1
    assert clippy.update_ratio() == pytest.approx(float(expected))
