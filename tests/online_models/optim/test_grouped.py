from __future__ import annotations

import copy

import torch

from online_models import state_tree
from online_models.optim.grouped import Grouped


def made() -> tuple[torch.nn.Parameter, torch.nn.Parameter, Grouped]:
    slow, fast = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    return slow, fast, Grouped(torch.optim.Adam([slow], lr=0.1), torch.optim.Adagrad([fast], lr=0.5))


def step(slow: torch.nn.Parameter, fast: torch.nn.Parameter, both: Grouped) -> None:
    both.zero_grad()
    (slow.square().sum() + fast.square().sum()).backward()
    both.step()


def test_each_part_steps_as_it_would_alone() -> None:
    slow, fast, both = made()
    alone = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([alone], lr=0.1)
    for _ in range(3):
        step(slow, fast, both)
        adam.zero_grad()
        alone.square().sum().backward()
        adam.step()
    assert torch.equal(slow, alone) and fast[0] != slow[0]


def test_it_resumes_exactly_and_its_state_is_that_of_the_parts() -> None:
    slow, fast, both = made()
    step(slow, fast, both)
    again_slow, again_fast, again = made()
    again_slow.data.copy_(slow.data)
    again_fast.data.copy_(fast.data)
    again.load_state_dict(copy.deepcopy(both.state_dict()))
    for _ in range(2):
        step(slow, fast, both)
        step(again_slow, again_fast, again)
    assert torch.equal(slow, again_slow) and torch.equal(fast, again_fast)
    assert state_tree.equal(both.state_dict(), again.state_dict())
    again.state[again_slow]["exp_avg"].zero_()  # as a learner does for rows whose item has left
    assert again.optimizers[0].state[again_slow]["exp_avg"].sum() == 0


def test_gradients_of_every_part_are_cleared() -> None:
    slow, fast, both = made()
    step(slow, fast, both)
    both.zero_grad(set_to_none=True)
    assert slow.grad is None and fast.grad is None
