from __future__ import annotations

import torch

from online_models.encoders.item_table import item_table


def test_padding_is_zero_before_and_after_learning() -> None:
    table = item_table(5, 3, sparse=False)
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    table(torch.tensor([0, 2])).sum().backward()
    before = table.weight.detach().clone()
    optimizer.step()
    assert not table.weight[0].any()
    assert torch.equal(table.weight[2], before[2] - 1)


def test_vectors_spread_as_asked_and_gradients_hold_touched_rows() -> None:
    torch.manual_seed(1)
    table = item_table(2_000, 8, deviation=0.1)
    assert abs(float(table.weight[1:].std()) - 0.1) < 0.005
    table(torch.tensor([7])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.coalesce().indices().tolist() == [[7]]
