from __future__ import annotations

import torch

from online_models.satisfaction import SatisfactionHead


def test_it_learns_who_likes_what_from_the_known_outcomes_alone() -> None:
    torch.manual_seed(3)
    head = SatisfactionHead(4, 2)
    users, items, features = torch.randn(256, 4), torch.randn(256, 4), torch.randn(256, 2)
    liked = ((users * items)[:, 0] > 0).float()
    outcomes = torch.where(torch.arange(256) < 192, liked, torch.nan)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(head(users, items, features), outcomes).backward()
        optimizer.step()
    found = head(users, items, features) > 0
    assert (found == (liked > 0)).float().mean() > 0.9


def test_without_any_outcome_the_loss_is_zero_and_finite() -> None:
    head = SatisfactionHead(2, 1)
    logits = head(torch.ones(3, 2), torch.ones(3, 2), torch.ones(3, 1))
    assert float(head.loss(logits, torch.full((3,), torch.nan))) == 0.0
