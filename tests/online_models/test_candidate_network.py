from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from online_models.candidate_network import CandidateLists, CandidateNetwork, stacked
from online_models.learner import seeded


def lists(draw: torch.Generator, count: int = 6, candidates: int = 5, inputs: int = 4) -> CandidateLists:
    return CandidateLists(
        inputs=torch.randn(count, candidates, inputs, generator=draw),
        contexts=torch.randn(count, 2, generator=draw),
        blended=torch.randn(count, candidates, generator=draw),
        rest=torch.randn(count, generator=draw),
        targets=torch.arange(count) % (candidates + 1) - 1,
    )


def network(seed: int = 3) -> CandidateNetwork:
    with seeded(seed):
        return CandidateNetwork(4, 2, CandidateNetwork.Config(width=8, dropout=0.0))


def spoken(seed: int = 3) -> CandidateNetwork:
    """A network that has something to say."""
    made = network(seed)
    torch.nn.init.normal_(made.out.weight, generator=torch.Generator().manual_seed(seed))
    return made


def test_it_starts_silent_so_its_loss_is_the_blends() -> None:
    some = lists(torch.Generator().manual_seed(0))
    assert torch.equal(network()(some.inputs, some.contexts), torch.zeros(6, 5))
    whole = torch.cat([some.blended, some.rest[:, None]], 1).log_softmax(1)  # [B, N + 1]
    log_total = torch.cat([some.blended, some.rest[:, None]], 1).logsumexp(1)
    own = torch.where(some.targets >= 0, -whole[torch.arange(6), some.targets], log_total)
    torch.testing.assert_close(network().loss(some), own.mean())


def test_the_order_of_candidates_is_free() -> None:
    some, order = lists(torch.Generator().manual_seed(0)), torch.tensor([3, 1, 4, 0, 2])
    said = spoken()(some.inputs, some.contexts)
    torch.testing.assert_close(spoken()(some.inputs[:, order], some.contexts), said[:, order])


def test_a_target_outside_the_list_lowers_all_that_is_in_it() -> None:
    some = replace(lists(torch.Generator().manual_seed(0)), targets=torch.full((6,), -1))
    made = spoken()
    before = made(some.inputs, some.contexts)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.01)
    made.loss(some).backward()
    optimizer.step()
    assert made(some.inputs, some.contexts).sum() < before.sum()


def test_lists_are_joined_in_order() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = lists(draw, 2), lists(draw, 3)
    both = stacked([first, second])
    assert len(both) == 5 and torch.equal(both.inputs[2:], second.inputs)
    assert both.targets.tolist() == [*first.targets.tolist(), *second.targets.tolist()]


def agreement(draw: torch.Generator, count: int) -> CandidateLists:
    """Two sources each put forward half of four items; taken is the one on which both agree, or neither.

    For any weights of the two, what a linear blend gives to (1, 1) and (0, 0) together it gives to (1, 0) and (0, 1)
    together as well, so it can never put the first two before the others.
    """
    said = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    order = torch.stack([torch.randperm(4, generator=draw) for _ in range(count)])  # [B, N]
    wanted = torch.randint(2, (count,), generator=draw)  # (1, 1) or (0, 0)
    return CandidateLists(
        inputs=torch.cat([said[order], torch.zeros(count, 4, 2)], 2),
        contexts=torch.ones(count, 2),
        blended=torch.zeros(count, 4),
        rest=torch.full((count,), -20.0),
        targets=(order == wanted[:, None]).long().argmax(1),
    )


def test_it_learns_what_no_linear_blend_can() -> None:
    draw, made = torch.Generator().manual_seed(0), network()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        made.loss(agreement(draw, 32)).backward()
        optimizer.step()
    with torch.no_grad():
        loss = made.loss(agreement(draw, 256)).item()
    assert loss == pytest.approx(torch.tensor(2.0).log().item(), abs=0.05), "which of the two cannot be known"
    assert loss < torch.tensor(4.0).log().item() - 0.5, "the best of a linear blend: all four alike"
