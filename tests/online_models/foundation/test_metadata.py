from __future__ import annotations

import numpy as np

from online_models.foundation.metadata import BUCKETS, tokens


def shared(left: np.ndarray, right: np.ndarray) -> int:
    return len(set(left.tolist()) & set(right.tolist()) - {0})


def test_nothing_known_is_all_padding() -> None:
    assert not tokens().any()


def test_alike_prices_share_a_bucket() -> None:
    assert shared(tokens(price=10.0), tokens(price=11.0)) == 1
    assert shared(tokens(price=10.0), tokens(price=100.0)) == 0
    assert not tokens(price=0.0).any() and not tokens(price=float("nan")).any()


def test_kinds_of_tokens_do_not_meet() -> None:
    assert shared(tokens(["Drama"]), tokens(title="drama")) == 0
    assert shared(tokens(["DRAMA"]), tokens(["drama"])) == 1


def test_categories_come_before_the_title_where_room_is_short() -> None:
    found = tokens(["a", "b"], "one two three", slots=3)
    assert shared(found, tokens(["a", "b"])) == 2
    assert (found > 0).sum() == 3 and found.max() < BUCKETS
