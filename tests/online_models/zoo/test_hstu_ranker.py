from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from online_models.batch import Batch, Candidates
from online_models.checks import SIZES, example_batch
from online_models.learner import TorchLearner, seeded
from online_models.optim import LazyAdam
from online_models.zoo.hstu_ranker import HSTURanker


def model() -> HSTURanker:
    config = HSTURanker.Config(
        catalog_rows=SIZES.rows,
        features=SIZES.features,
        sources=SIZES.sources,
        item_features=SIZES.item_features,
        dimension=16,
        history=10,
    )
    with seeded(3):
        ranker = HSTURanker(config).eval()
        for parameter in ranker.core.parameters():
            # the start is nearly linear: larger weights make every part of a layer matter
            torch.nn.init.normal_(parameter, std=0.3)
    return ranker


def part(candidates: Candidates, places: torch.Tensor) -> Candidates:
    return Candidates(
        items=candidates.items[:, places],
        source_scores=candidates.source_scores[:, places],
        features=candidates.features[:, places],
    )


class TestMFalcon:
    """The quick way of scoring is the definition, to rounding."""

    @pytest.mark.parametrize("microbatch", [1, 5, 12, 100, None])
    @torch.no_grad()
    def test_equals_encoding_the_history_with_each_candidate(self, microbatch: int | None) -> None:
        ranker, batch = model(), example_batch(seed=5)
        quick = ranker.score(ranker.encode(batch.context), batch.context, batch.candidates, microbatch)
        torch.testing.assert_close(quick, ranker.reencode(batch.context, batch.candidates), atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_candidates_do_not_see_each_other(self) -> None:
        ranker, batch = model(), example_batch(seed=5)
        alone = ranker(batch.context, part(batch.candidates, torch.tensor([3])))
        torch.testing.assert_close(ranker(batch.context, batch.candidates)[:, 3:4], alone)

    @torch.no_grad()
    def test_candidates_attend_to_the_history(self) -> None:
        """The order of two candidates can change with the history: no inner product with one user vector does less."""
        ranker, batch = model(), example_batch(seed=5)
        other = replace(batch.context, history_items=batch.context.history_items.roll(1, 0))
        scores, changed = ranker(batch.context, batch.candidates), ranker(other, batch.candidates)
        assert not torch.allclose(scores.argsort(1).double(), changed.argsort(1).double())

    @torch.no_grad()
    def test_a_cache_serves_later_lists_and_other_candidates(self) -> None:
        ranker, batch = model(), example_batch(seed=5)
        cache = ranker.encode(batch.context)
        mask = batch.context.history_items != 0
        later = replace(batch.context, history_ages_seconds=(batch.context.history_ages_seconds + 90_000) * mask)
        torch.testing.assert_close(ranker.encode(later).keys, cache.keys, atol=1e-4, rtol=1e-4)
        expected = ranker.reencode(later, batch.candidates)
        torch.testing.assert_close(ranker.score(cache, later, batch.candidates), expected, atol=1e-4, rtol=1e-4)

    @torch.no_grad()
    def test_an_empty_list_has_no_scores(self) -> None:
        ranker, batch = model(), example_batch(seed=5)
        nothing = part(batch.candidates, torch.zeros(0, dtype=torch.int64))
        assert ranker(batch.context, nothing).shape == (len(batch), 0)

    def test_microbatches_hold_at_least_one(self) -> None:
        ranker, batch = model(), example_batch(seed=5)
        with pytest.raises(ValueError, match="microbatch is 0; it must be at least 1, or None"):
            ranker.score(ranker.encode(batch.context), batch.context, batch.candidates, 0)

    def test_training_through_the_cache_reaches_the_history(self) -> None:
        ranker, batch = model(), example_batch(seed=5)
        loss, _ = ranker.loss(batch)
        loss.backward()
        gradient = ranker.core.actions.weight.grad
        assert gradient is not None and gradient.abs().sum() > 0


def test_learns_a_taste_that_popularity_cannot_know() -> None:
    """The candidate is taken that lies in the history, whatever it is."""
    with seeded(2):
        config = HSTURanker.Config(
            catalog_rows=SIZES.rows, features=5, sources=4, item_features=3, dimension=16, history=10, dropout=0.0
        )
        learner = TorchLearner(HSTURanker(config), partial(LazyAdam, lr=1e-2))

    def repeated(seed: int) -> Batch:
        batch = example_batch(seed=seed, examples=64, candidates=4)
        taken = batch.candidates.items[torch.arange(64), batch.labels.argmax(1)]
        history = torch.where(batch.context.history_items > 0, taken[:, None], 0)
        return replace(batch, context=replace(batch.context, history_items=history))

    for seed in range(300):
        learner.learn(repeated(seed))
    asked = repeated(1000)
    hits = learner.score(asked.context, asked.candidates).argmax(1) == asked.labels.argmax(1)
    assert hits.double().mean() > 0.5, "chance is 0.25"
