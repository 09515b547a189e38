from __future__ import annotations

import numpy as np
import pytest
import torch

from online_models.checks import example_batch
from online_models.encoders.length_groups import history_lengths, length_groups
from online_models.zoo import in_session
from online_models.zoo.in_session import InSessionRanker


@pytest.mark.parametrize("worth", [1, 40, 10_000])
def test_every_example_is_in_one_group_that_holds_its_history(worth: int) -> None:
    lengths = np.random.default_rng(1).integers(0, 31, 64)
    groups = length_groups(lengths, worth)
    assert sorted(np.concatenate([rows for rows, _ in groups]).tolist()) == list(range(64))
    assert all(lengths[rows].max() <= length for rows, length in groups)
    assert sum(len(rows) * length for rows, length in groups) <= 64 * lengths.max()


def test_what_saves_little_stays_together() -> None:
    assert len(length_groups(np.array([30] * 10 + [1] * 10), worth=1_000)) == 1
    assert len(length_groups(np.array([30] * 10 + [1] * 10), worth=100)) == 2
    assert [length for _, length in length_groups(np.zeros(3, np.int64))] == [1]


def test_a_gap_within_a_history_counts() -> None:
    assert history_lengths(np.array([[0, 4, 0, 0], [1, 0, 0, 2]])).tolist() == [3, 4]


def test_groups_change_neither_scores_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = example_batch(seed=3)
    torch.manual_seed(0)
    config = InSessionRanker.Config(catalog_rows=64, features=5, sources=4, item_features=3, dropout=0.0)
    ranker = InSessionRanker(config)

    def scores_and_gradients(worth: int) -> list[torch.Tensor]:
        monkeypatch.setattr(in_session, "length_groups", lambda lengths: length_groups(lengths, worth))
        ranker.zero_grad()
        ranker.loss(batch)[0].backward()
        found = [p.grad.to_dense() for p in ranker.parameters() if p.grad is not None]
        return [ranker(batch.context, batch.candidates).detach(), *found]

    assert len(length_groups(history_lengths(batch.context.history_items.numpy()), 1)) > 1
    torch.testing.assert_close(scores_and_gradients(1), scores_and_gradients(10_000), atol=1e-5, rtol=1e-4)
