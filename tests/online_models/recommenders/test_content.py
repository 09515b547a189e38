"""Content finds what is alike, taken or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting
from online_models.recommenders.content import RECOMMENDERS, ContentRecommender, is_described, nearest, tf_idf
from tests.online_models.recommenders.small_logs import log_of


def _catalogue() -> Interactions:
    titles = ["", "", "red nail polish", "blue nail polish", "garden hose", "long garden hose", ""]
    categories: list[tuple[int, ...]] = [(), (), (1,), (1,), (2,), (2,), ()]
    return replace(log_of([(0, 2)], rows=7), item_titles=titles, item_categories=categories)


def test_like_items_score() -> None:
    model = ContentRecommender(_catalogue())
    scores = model.score(Histories.of([[2], [4], [6]]))
    assert scores.argmax(axis=1)[:2].tolist() == [3, 5]
    assert not scores[2].any() and not scores[:, :2].any()


def test_one_history_scores_as_many_do() -> None:
    model, histories = ContentRecommender(_catalogue()), Histories.of([[2, 4, 3], [5, 5]])
    alone = [model.score(histories.take(np.array([place])))[0] for place in range(2)]
    assert np.allclose(model.score(histories), alone)


def test_neighbours_are_the_largest_cosines() -> None:
    vectors = tf_idf(_catalogue())
    full = (vectors @ vectors.T).toarray()
    np.fill_diagonal(full, 0)
    kept = nearest(vectors, 1, block=3).toarray()
    assert np.allclose(kept.max(axis=1), full.max(axis=1))
    assert (np.count_nonzero(kept, axis=1) <= 1).all()


def test_a_bare_catalogue_is_refused() -> None:
    bare = log_of([(0, 2)])
    assert not is_described(bare) and not is_described(None)
    with pytest.raises(ValueError, match="neither titles nor categories"):
        RECOMMENDERS["content"](Setting(rows=12, user_count=1, sample=bare))
