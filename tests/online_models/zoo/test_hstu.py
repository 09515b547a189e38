from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from online_models.checks import SIZES, example_batch
from online_models.learner import seeded
from online_models.optim import LazyAdam
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.hstu import HSTU

DAY = 86_400.0


def model(**sizes: float) -> HSTU:
    with seeded(3):
        return HSTU(HSTU.Config(catalog_rows=SIZES.rows, **{"dimension": 16, "history": 8, **sizes})).eval()  # type: ignore[arg-type]


def sequences(items: Tensor, times: Tensor, asked: Tensor) -> Sequences:
    weights = (items != 0).float()
    weights[:, 0] = 0
    actions, users = (items != 0).long(), torch.arange(len(items))
    return Sequences(
        items=items, actions=actions, times_seconds=times, target_weights=weights, users=users, asked_seconds=asked
    )


def walk(examples: int = 3, length: int = 6) -> Sequences:
    draw = torch.Generator().manual_seed(1)
    items = torch.randint(2, SIZES.rows, (examples, length), generator=draw)
    times = 1.7e9 + torch.rand(examples, length, generator=draw, dtype=torch.float64).mul(1e6).cumsum(1)
    return sequences(items, times, times[:, -1] + 60)


class TestEncode:
    def test_later_events_change_nothing_before_them(self) -> None:
        ranker, whole = model(), walk()
        before = ranker.encode(whole.without_newest())
        torch.testing.assert_close(ranker.encode(whole)[:, :-1], before, atol=1e-4, rtol=1e-4)

    def test_states_read_when_the_list_is_asked_for(self) -> None:
        ranker, now = model(), walk()
        torch.nn.init.normal_(ranker.core.encoder.layers[0].bias.gaps)  # type: ignore[union-attr,arg-type]
        later = replace(now, asked_seconds=now.asked_seconds + 30 * DAY)
        assert not torch.allclose(ranker.encode(now)[:, -1], ranker.encode(later)[:, -1])

    def test_scores_are_cosines_over_the_temperature(self) -> None:
        ranker, batch = model(temperature=0.5), example_batch(seed=2)
        scores = ranker(batch.context, batch.candidates)
        assert scores.abs().max() <= 2 + 1e-5
        with torch.no_grad():
            ranker.items.weight *= torch.rand(SIZES.rows, 1) + 0.5
        state = ranker.embed_context(batch.context)
        torch.testing.assert_close(state.norm(dim=-1), torch.full((len(batch),), 2.0))
        vectors = ranker.embed_items(batch.candidates.items, batch.candidates.features)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:2]))

    def test_a_history_longer_than_its_length_is_still_encoded(self) -> None:
        assert model(history=4).encode(walk(length=9)).isfinite().all()


class TestTraining:
    def test_padding_makes_no_nan_in_loss_or_gradient(self) -> None:
        ranker, whole = model(), walk()
        items = whole.items.clone()
        items[0, :4], items[1] = 0, 0
        loss = ranker.sequence_loss(
            sequences(items, whole.times_seconds, whole.asked_seconds), torch.arange(2, 20), torch.zeros(18)
        )
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.to_dense().isfinite().all() for p in ranker.parameters())

    @pytest.mark.parametrize("by_time", [False, True])
    def test_learns_what_popularity_cannot_know(self, by_time: bool) -> None:
        """All items come equally often; the next one follows from the last, or from how long the pause was."""
        draw, learner = (
            torch.Generator().manual_seed(4),
            SequenceLearner(model(dropout=0.0), partial(LazyAdam, lr=1e-2), negatives=16),
        )
        for _ in range(100):
            learner.learn_sequences(self._planted(by_time, draw))
        asked = self._planted(by_time, draw)
        states = learner.states(asked.without_newest())
        guesses = (states @ learner.ranker.catalogue_vectors()[2:12].T).argmax(1) + 2
        assert (guesses == asked.items[:, -1]).double().mean() > 0.9

    @staticmethod
    def _planted(by_time: bool, draw: torch.Generator) -> Sequences:
        """Items 2 to 11 in a circle, or in any order but 2 after an hour and 3 after ten days."""
        examples, length = 32, 5
        start = torch.randint(10, (examples, 1), generator=draw)
        items = (start + torch.arange(length)) % 10 + 2
        gaps = torch.full((examples, length), DAY, dtype=torch.float64)
        if by_time:
            long = torch.randint(2, (examples, length), generator=draw)
            items, gaps = 2 + long, 3600.0 + long.double() * 10 * DAY
        times = 1e9 + gaps.cumsum(1)
        return sequences(items, times, times[:, -1])
