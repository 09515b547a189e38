from __future__ import annotations

import math

import torch
from torch import nn

from online_models.optim.moves import Moves


def test_what_has_no_gradient_is_not_looked_at() -> None:
    used, idle = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(5))
    used.sum().backward()
    moves = Moves([used, idle])
    with torch.no_grad():
        used += torch.tensor([0.0, 5.0])
        idle += 100
    assert [delta.tolist() for delta in moves.deltas()] == [[0.0, 5.0]] and moves.relative() == 1.0


def test_of_a_table_only_the_touched_rows_count() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    with torch.no_grad():
        table.weight[:] = 1.0
    table(torch.tensor([4, 2, 4])).sum().backward()
    moves = Moves(table.parameters())
    with torch.no_grad():
        table.weight[4] += 1.0
        table.weight[0] += 9.0
    assert moves.rows[0].tolist() == [2, 4] and moves.deltas()[0].tolist() == [[0, 0], [1, 1]]
    assert math.isclose(moves.relative(), math.sqrt(2) / 2, rel_tol=1e-6)


def test_nothing_moved_is_zero() -> None:
    assert Moves([nn.Parameter(torch.ones(2))]).relative() == 0.0
