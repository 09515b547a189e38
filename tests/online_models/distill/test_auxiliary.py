from __future__ import annotations

import pytest
import torch
from torch import nn

from online_models.batch import Batch, Context
from online_models.checks import example_batch
from online_models.distill.auxiliary import AuxiliaryHead
from online_models.distill.direct import soft_list_loss
from online_models.learner import seeded


def test_it_starts_as_the_inner_product_for_own_and_for_shared_candidates() -> None:
    head, user, items = AuxiliaryHead(4, inputs=2, rows=9), torch.randn(3, 4), torch.randn(5, 4)
    own = head(user, items.expand(3, 5, 4), torch.randn(3, 5, 2), torch.arange(5).expand(3, 5))
    assert torch.allclose(own, user @ items.T, atol=1e-6)
    assert torch.allclose(head(user, items, items=torch.arange(5)), user @ items.T, atol=1e-6)


def test_inputs_of_another_width_are_named() -> None:
    with pytest.raises(ValueError, match="has 3 values a candidate, the head was built for 0; build it with inputs=3"):
        AuxiliaryHead(4)(torch.randn(1, 4), torch.randn(1, 2, 4), torch.randn(1, 2, 3))


class TwoTowers(nn.Module):
    """A shared bottom (items, encoder) and a main logit with weights of its own."""

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.items, self.encoder = nn.Embedding(64, 8), nn.Linear(8, 8)
        self.wide = nn.Linear(sources, 1)

    def user(self, context: Context) -> torch.Tensor:
        return self.encoder(self.items(context.history_items).mean(1))


def soft_gradients(batch: Batch, *, auxiliary: bool) -> dict[str, bool]:
    """Which of the ranker's parameters the soft label's gradient reaches."""
    given = batch.candidates
    with seeded(3):
        ranker = TwoTowers(given.source_scores.shape[2])
    user, vectors = ranker.user(batch.context), ranker.items(given.items)
    logits = torch.einsum("bd,bnd->bn", user, vectors) + ranker.wide(given.source_scores).squeeze(2)
    if auxiliary:
        head = AuxiliaryHead(8, inputs=given.source_scores.shape[2])
        logits = head(user, vectors, given.source_scores)
    teacher = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    soft_list_loss(logits, teacher, torch.zeros(len(logits)), given.mask).backward()
    return {
        name: parameter.grad is not None and bool(parameter.grad.any()) for name, parameter in ranker.named_parameters()
    }


def test_soft_labels_reach_the_shared_bottom_but_not_the_main_logits_own_weights() -> None:
    batch = example_batch(examples=6)
    direct, auxiliary = soft_gradients(batch, auxiliary=False), soft_gradients(batch, auxiliary=True)
    assert direct["wide.weight"] and not auxiliary["wide.weight"]
    assert auxiliary["items.weight"] and auxiliary["encoder.weight"]
