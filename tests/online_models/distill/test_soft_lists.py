from __future__ import annotations

import torch

from online_models.distill.soft_lists import LabelMemory, SoftLists


def scored(rows: int, seed: int = 0) -> torch.Tensor:
    scores = torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed))
    scores[:, :2] = -torch.inf
    return scores


def test_kept_items_and_remainder_are_the_whole_distribution() -> None:
    scores = scored(5)
    labels = SoftLists.of_scores(scores, 3)
    whole = torch.cat([labels.logits, labels.remainder[:, None]], 1).softmax(1)
    assert torch.allclose(whole[:, :3], scores.softmax(1).gather(1, labels.items), atol=1e-6)
    assert labels.others.tolist() == [5] * 5


def test_fewer_items_than_places_leave_the_rest_empty() -> None:
    scores = torch.full((1, 10), -torch.inf)
    scores[0, 4] = 1.0
    labels = SoftLists.of_scores(scores, 3)
    assert labels.items.tolist() == [[4, 0, 0]] and labels.remainder.tolist() == [-torch.inf]


def test_memory_forgets_the_oldest_and_keeps_the_newest() -> None:
    memory = LabelMemory(most=6, number=3)
    first, second = SoftLists.of_scores(scored(4), 3), SoftLists.of_scores(scored(4, seed=1), 3)
    numbers = memory.add(first), memory.add(second)
    assert memory.known(numbers[0]).tolist() == [False, False, True, True]
    assert torch.equal(memory.at(numbers[0][2:]).items, first.items[2:])
    assert torch.equal(memory.at(numbers[1]).logits, second.logits)
    many = SoftLists.of_scores(scored(9, seed=2), 3)
    last = memory.add(many)
    assert torch.equal(memory.at(last[-6:]).items, many.items[-6:]) and not memory.known(last[:3]).any()
