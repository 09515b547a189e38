from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from online_models.batch import Candidates, Context
from online_models.checks import SIZES, check_learner, example_batch
from online_models.learner import TorchLearner, seeded
from online_models.losses import softmax_cross_entropy
from online_models.ranker import Ranker, Retriever


class TwoTowers(Retriever):
    """Mean of the history's items, one vector or two."""

    def __init__(self, interests: int) -> None:
        super().__init__()
        self.items = nn.Embedding(SIZES.rows, 8, padding_idx=0)
        self.heads = nn.ModuleList(nn.Linear(8, 8) for _ in range(interests))

    def embed_context(self, context: Context) -> Tensor:
        mask = (context.history_items > 0).float()
        mean = self.items(context.history_items).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        vectors = torch.stack([head(mean) for head in self.heads], 1)
        return vectors[:, 0] if len(self.heads) == 1 else vectors

    def embed_items(self, items: Tensor, features: Tensor) -> Tensor:
        return self.items(items)


@pytest.mark.parametrize("interests", [1, 3])
def test_a_retriever_scores_by_its_nearest_interest(interests: int) -> None:
    model, batch = TwoTowers(interests), example_batch(seed=1)
    scores = model(batch.context, batch.candidates)
    vectors = model.embed_context(batch.context).reshape(len(batch), interests, 8)
    items = model.embed_items(batch.candidates.items, batch.candidates.features)
    for b, n in ((0, 0), (3, 5)):
        expected = max(vectors[b, m] @ items[b, n] for m in range(interests))
        torch.testing.assert_close(scores[b, n], expected)


@pytest.mark.parametrize("interests", [1, 3])
def test_a_retriever_keeps_the_laws(interests: int) -> None:
    def make() -> TorchLearner:
        with seeded(1):
            return TorchLearner(TwoTowers(interests))

    check_learner(make)


def test_the_loss_unless_it_has_its_own_is_the_listwise_softmax() -> None:
    model, batch = TwoTowers(1), example_batch(seed=1)
    loss, logits = model.loss(batch)
    torch.testing.assert_close(logits, model(batch.context, batch.candidates))
    torch.testing.assert_close(loss, softmax_cross_entropy(logits, batch.labels, batch.candidates.mask))


@pytest.mark.parametrize("cls", [Ranker, Retriever])
def test_what_is_missing_is_named(cls: type[Ranker]) -> None:
    batch = example_batch()
    with pytest.raises(NotImplementedError, match=f"{cls.__name__} must define"):
        cls()(
            batch.context,
            Candidates(**{n: getattr(batch.candidates, n) for n in ("items", "source_scores", "features")}),
        )
    with pytest.raises(NotImplementedError, match="must define embed_items"):
        Retriever().embed_items(batch.candidates.items, batch.candidates.features)
