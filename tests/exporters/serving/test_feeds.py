"""Feeds of the server against the ranker that they are for."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.feeds import candidate_feeds, context_feeds, history_view


def _view(length, limit):
    rows = np.arange(2, 2 + length)
    return history_view(rows, ["click"] * length, [1_000 * place for place in range(length)], 1_000 * length, limit)


@pytest.mark.parametrize("length", [0, 1, 3, 5, 9])
def test_histories_are_right_aligned_and_cut_to_the_newest(length):
    view = _view(length, 5)
    vectors = view.rows[:, None].astype(np.float32) * np.ones((1, 4), np.float32)
    feeds = context_feeds(
        view, vectors, np.ones(3, np.float32), np.zeros(4, np.float32), surface="home", query="a b", length=5
    )
    kept = min(length, 5)
    assert feeds["history_mask"].tolist() == [[0.0] * (5 - kept) + [1.0] * kept]
    newest = np.arange(2, 2 + length)[length - kept :]
    assert feeds["history_vectors"][0, 5 - kept :, 0].tolist() == newest.tolist()
    assert not feeds["history_vectors"][0, : 5 - kept].any() and not feeds["history_ages_seconds"][0, : 5 - kept].any()
    assert feeds["history_ages_seconds"][0, 5 - kept :].tolist() == [float(age) for age in range(kept, 0, -1)]


def test_an_event_after_the_moment_asked_for_has_age_zero():
    assert history_view(np.array([2]), ["view"], [5_000], 1_000, 5).ages_seconds.tolist() == [0.0]


def test_the_ranker_takes_the_feeds_as_they_are():
    torch = pytest.importorskip("torch")
    from online_models.zoo.in_session import InSessionRanker

    config = InSessionRanker.Config(catalog_rows=16, features=3, sources=2, item_features=2, dimension=8, history=5)
    ranker = InSessionRanker(config).eval()
    graph = ranker.graphs()["rank"]
    view = _view(3, 5)
    vectors, features, source = np.ones((3, 8), np.float32), np.ones(3, np.float32), np.zeros(8, np.float32)
    context = context_feeds(view, vectors, features, source, surface="home", query=None, length=5)
    pair = np.ones((4, 2), np.float32)
    feeds = {**context, **candidate_feeds(np.ones((4, 8), np.float32), pair, pair)}
    assert feeds.keys() == graph.inputs.keys()
    for name, example in graph.inputs.items():
        assert torch.from_numpy(feeds[name]).dtype == example.dtype, name
        assert feeds[name].ndim == example.ndim, name
    with torch.no_grad():
        logits, weights, *_ = graph.module(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    assert logits.shape == (1, 4) and weights.shape == (1, 5)
