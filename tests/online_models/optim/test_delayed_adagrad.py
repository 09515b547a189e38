from __future__ import annotations

import pytest
import torch
from torch import nn

from online_models.optim import DelayedAdagrad


def test_a_gradient_is_divided_by_those_before_it_alone() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = DelayedAdagrad([weight], lr=0.1, initial=0.25)
    for gradient, expected in ((2.0, -0.1 * 2 / 0.5), (1.0, -0.4 - 0.1 / 4.25**0.5)):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        assert weight.item() == pytest.approx(expected)


def test_plain_adagrad_one_step_later() -> None:
    left, right = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    delayed = DelayedAdagrad([left], lr=0.1, initial=0.1)
    plain = torch.optim.Adagrad([right], lr=0.1, initial_accumulator_value=0.1)
    for seed in range(4):
        gradient = torch.randn(3, generator=torch.Generator().manual_seed(seed))
        left.grad, right.grad = gradient.clone(), gradient.clone()
        delayed.step()
        plain.step()
    torch.testing.assert_close(delayed.state[left]["sum"], plain.state[right]["sum"])
    assert (left.abs() > right.abs()).all(), "every step was divided by less"


def test_only_the_touched_rows_of_a_table_move() -> None:
    sparse = nn.Embedding(4, 2, sparse=True)
    dense = nn.Embedding(4, 2, _weight=sparse.weight.detach().clone())
    optimizers = [DelayedAdagrad(table.parameters(), lr=0.1) for table in (sparse, dense)]
    before = sparse.weight.detach().clone()
    for rows in ([1, 3, 3], [1, 1]):
        for table, optimizer in zip((sparse, dense), optimizers, strict=True):
            optimizer.zero_grad()
            table(torch.tensor(rows)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(sparse.weight, dense.weight)
    assert torch.equal(sparse.weight[[0, 2]], before[[0, 2]])


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="lr 0"):
        DelayedAdagrad([nn.Parameter(torch.ones(1))], lr=0)
