from __future__ import annotations

import torch
from torch import nn

from online_models.encoders.gathered import Gathered
from online_models.encoders.item_table import item_table


def test_what_is_gathered_once_is_what_the_table_says() -> None:
    table = item_table(9, 4)
    history, candidates = torch.tensor([[0, 7, 3], [3, 3, 1]]), torch.tensor([[7, 2], [0, 8]])
    gathered = Gathered(table, history=history, candidates=candidates)
    assert torch.equal(gathered.of("history"), table(history))
    assert torch.equal(gathered.of("candidates"), table(candidates))
    users = torch.randn(2, 4)
    expected = torch.einsum("bd,bnd->bn", users, table(candidates))
    torch.testing.assert_close(gathered.products(users, "candidates"), expected)


def test_the_gradient_has_one_row_an_item_and_none_for_padding() -> None:
    table, plain = item_table(9, 4), nn.Embedding(9, 4, padding_idx=0)
    plain.load_state_dict(table.state_dict())
    history, candidates, users = torch.tensor([[0, 7, 3]]), torch.tensor([[7, 3, 7]]), torch.randn(1, 4)
    gathered = Gathered(table, history=history, candidates=candidates)
    (gathered.of("history").square().sum() + gathered.products(users, "candidates").sum()).backward()
    (plain(history).square().sum() + torch.einsum("bd,bnd->bn", users, plain(candidates)).sum()).backward()
    gradient = table.weight.grad
    assert gradient is not None and gradient.is_sparse and plain.weight.grad is not None
    assert sorted(gradient.coalesce().indices()[0].tolist()) == [3, 7]
    torch.testing.assert_close(gradient.to_dense(), plain.weight.grad)
