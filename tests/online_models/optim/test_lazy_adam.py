from __future__ import annotations

import copy

import torch
from torch import nn

from online_models import state_tree
from online_models.optim import LazyAdam


def step(model: nn.Module, optimizer: torch.optim.Optimizer, rows: list[int]) -> None:
    optimizer.zero_grad()
    model(torch.tensor(rows)).square().sum().backward()
    optimizer.step()


def test_dense_parameters_get_plain_adam() -> None:
    torch.manual_seed(0)
    left = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2))
    right = copy.deepcopy(left)
    lazy, adam = LazyAdam(left.parameters(), lr=0.1), torch.optim.Adam(right.parameters(), lr=0.1)
    for rows in ([0, 1], [1], [3, 3]):
        step(left, lazy, rows)
        step(right, adam, rows)
    assert state_tree.equal(dict(left.state_dict()), dict(right.state_dict()))


def test_rows_touched_every_time_get_plain_adam_too() -> None:
    torch.manual_seed(0)
    sparse = nn.Embedding(4, 3, sparse=True)
    dense = nn.Embedding(4, 3, _weight=sparse.weight.detach().clone())
    lazy, adam = LazyAdam(sparse.parameters(), lr=0.1), torch.optim.Adam(dense.parameters(), lr=0.1)
    for _ in range(5):
        step(sparse, lazy, [0, 1, 2, 3, 3])
        step(dense, adam, [0, 1, 2, 3, 3])
    torch.testing.assert_close(sparse.weight, dense.weight)


def test_rows_that_are_not_touched_stay() -> None:
    table = nn.Embedding(4, 3, sparse=True)
    optimizer = LazyAdam(table.parameters(), lr=0.1)
    step(table, optimizer, [0, 1])
    before = table.weight.detach().clone()
    step(table, optimizer, [2])
    moved = (table.weight != before).any(1)
    assert moved.tolist() == [False, False, True, False]


def test_a_row_that_comes_late_takes_a_full_first_step() -> None:
    table = nn.Embedding(2, 1, sparse=True)
    optimizer = LazyAdam(table.parameters(), lr=0.1)
    for _ in range(50):
        step(table, optimizer, [0])
    before = table.weight[1].item()
    step(table, optimizer, [1])
    assert abs(abs(table.weight[1].item() - before) - 0.1) < 1e-3


def test_the_state_resumes_exactly() -> None:
    table = nn.Embedding(4, 3, sparse=True)
    optimizer = LazyAdam(table.parameters(), lr=0.1)
    step(table, optimizer, [0, 1])
    again = copy.deepcopy(table)
    resumed = LazyAdam(again.parameters(), lr=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in ((table, optimizer), (again, resumed)):
        step(*each, [1, 2])
    assert torch.equal(table.weight, again.weight)
    assert state_tree.equal(optimizer.state_dict(), resumed.state_dict())
