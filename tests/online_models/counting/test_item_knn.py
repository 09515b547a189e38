from __future__ import annotations

import numpy as np
import pytest

from online_models.counting import ItemKNN


def weights(knn: ItemKNN, row: int) -> dict[int, float]:
    items, values = knn.best(row, 10)
    return dict(zip(items.tolist(), values.tolist(), strict=True))


def test_cosine_of_a_small_stream_by_hand() -> None:
    knn = ItemKNN(rows=8, width=4)
    # user 1 takes 2, 3, 4; user 2 takes 2, 3: n_2 = n_3 = 2, n_4 = 1; c_23 = 2, c_24 = c_34 = 1
    for history, target in (([], 2), ([2], 3), ([2, 3], 4), ([], 2), ([2], 3)):
        knn.observe(np.array(history, np.int64), target)
    assert weights(knn, 2) == pytest.approx({3: 2 / 2, 4: 1 / np.sqrt(2)})
    assert weights(knn, 3) == pytest.approx({2: 2 / 2, 4: 1 / np.sqrt(2)})
    assert weights(knn, 4) == pytest.approx({2: 1 / np.sqrt(2), 3: 1 / np.sqrt(2)})


def test_a_pair_counts_once_an_event_and_never_with_itself() -> None:
    knn = ItemKNN(rows=8, width=4)
    knn.observe(np.array([2, 3, 2, 3]), 3)
    assert weights(knn, 3) == {2: 1.0} and weights(knn, 2) == {3: 1.0}


def test_partners_lie_within_the_window() -> None:
    knn = ItemKNN(rows=8, width=4, window=2)
    knn.observe(np.array([2, 3, 4]), 5)
    assert set(weights(knn, 5)) == {3, 4} and weights(knn, 2) == {}


def test_a_popular_partner_weighs_less_than_a_rare_one() -> None:
    knn = ItemKNN(rows=8, width=4)
    for _ in range(8):
        knn.observe(np.array([], np.int64), 3)
    knn.observe(np.array([3, 4]), 5)
    assert weights(knn, 5) == pytest.approx({4: 1.0, 3: 1 / np.sqrt(8)})
