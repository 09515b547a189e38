from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from online_models.batch import Batch
from online_models.checks import SIZES, example_batch
from online_models.learner import TorchLearner, seeded
from online_models.zoo.caser_ranker import CaserRanker

WINDOW = 3


def ranker(**changes: float) -> CaserRanker:
    sizes = {"catalog_rows": SIZES.rows, "features": SIZES.features, "sources": SIZES.sources}
    config = {
        **sizes,
        "item_features": SIZES.item_features,
        "dimension": 16,
        "window": WINDOW,
        "dropout": 0.0,
        **changes,
    }
    with seeded(3):
        return CaserRanker(CaserRanker.Config(**config)).eval()  # type: ignore[arg-type]


def batch_of(histories: list[list[int]], wanted: list[int]) -> Batch:
    """Make a batch whose contexts differ in their histories alone, and whose sources say nothing."""
    batch = example_batch(seed=1, examples=len(histories), history=len(histories[0]))
    same = replace(batch.context, history_items=torch.tensor(histories))
    same.history_ages_seconds.zero_()
    same.history_actions.fill_(1)
    for name in ("features", "surface", "source_item", "query"):
        value = getattr(same, name)
        value.copy_(value[:1].expand_as(value))
    items = torch.arange(2, 2 + batch.labels.shape[1]).repeat(len(histories), 1)
    silent = replace(
        batch.candidates, items=items, source_scores=torch.zeros_like(batch.candidates.source_scores),
        features=torch.zeros_like(batch.candidates.features),
    )  # fmt: skip
    labels = (items == torch.tensor(wanted)[:, None]).float()
    return replace(batch, context=same, candidates=silent, labels=labels)


@torch.no_grad()
def scores(model: CaserRanker, batch: Batch) -> Tensor:
    return model(batch.context, batch.candidates)


def test_only_the_last_window_counts() -> None:
    model = ranker()
    batch = batch_of([[5, 6, 7, 8], [9, 6, 7, 8], [9, 5, 7, 8]], [2, 2, 2])
    found = scores(model, batch)
    assert torch.equal(found[0], found[1]), "the first event lies outside the window"
    assert not torch.allclose(found[0], found[2])


def test_it_learns_what_follows_the_last_items_in_their_order() -> None:
    model = ranker()
    learner = TorchLearner(model, lambda _: model.optimizer(1e-2), clip_norm=5.0)
    batch = batch_of([[20, 21, 22], [22, 21, 20], [30, 21, 22]], [2, 3, 4])
    for _ in range(150):
        learner.learn(batch)
    assert (scores(model, batch).argmax(1) + 2).tolist() == [2, 3, 4], "a bag of the items could not tell 2 from 3"


def test_the_user_vector_is_the_deep_part_of_the_ranking() -> None:
    model, batch = ranker(), batch_of([[5, 6, 7], [8, 9, 10]], [2, 3])
    users = model.user_vectors(batch.context)  # [B, D]
    deep = torch.einsum("bd,bnd->bn", users, model.items(batch.candidates.items))
    with torch.no_grad():
        weights = model.core(**model.inputs(batch.context, batch.candidates))[1]
    silent = scores(model, batch) - weights[:, -1:] * deep  # what sources add that know no item: the same for all
    assert torch.allclose(silent, silent[:, :1].expand_as(silent), atol=1e-5)


def test_what_it_has_no_use_for_is_ignored() -> None:
    model, batch = ranker(), batch_of([[5, 6, 7]], [2])
    before = scores(model, batch)
    model.set_categories(5, [1, 2])
    model.set_published(5, 1.7e9)
    assert model.has_categories(5) and torch.equal(scores(model, batch), before)
