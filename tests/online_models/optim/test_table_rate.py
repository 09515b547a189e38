from __future__ import annotations

import copy

import torch
from torch import nn

from online_models.optim.table_rate import with_table_rate


def test_tables_and_the_rest_take_steps_of_their_own_length() -> None:
    table, other = nn.Embedding(3, 1, sparse=True), nn.Embedding(3, 1, sparse=True)
    rest = nn.Linear(1, 1)
    parameters = [*table.parameters(), *other.parameters(), *rest.parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = with_table_rate([table.weight, torch.zeros(3)], rate=0.01, table_rate=0.5)(parameters)
    rest(table(torch.tensor([1])) + other(torch.tensor([2]))).sum().backward()
    optimizer.step()
    moved = [(after - old).abs().squeeze() for after, old in zip(parameters, before, strict=True)]
    assert torch.allclose(moved[0].detach(), torch.tensor([0.0, 0.5, 0.0]), atol=1e-4)
    assert torch.allclose(moved[1].detach(), torch.tensor([0.0, 0.0, 0.01]), atol=1e-4)
    assert torch.allclose(moved[3].detach(), torch.tensor(0.01), atol=1e-4)


def test_state_resumes() -> None:
    def made() -> tuple[nn.Embedding, torch.optim.Optimizer]:
        table = nn.Embedding(3, 1, sparse=True)
        nn.init.ones_(table.weight)
        return table, with_table_rate([table.weight])(table.parameters())

    def step(table: nn.Embedding, optimizer: torch.optim.Optimizer, scale: float) -> None:
        optimizer.zero_grad()
        (table(torch.tensor([1])) * scale).sum().backward()
        optimizer.step()

    (first, optimizer), (second, resumed) = made(), made()
    step(first, optimizer, 1.0)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # it adopts what it is given
    for table, one in ((first, optimizer), (second, resumed)):
        step(table, one, -3.0)
    assert torch.equal(first.weight, second.weight)
