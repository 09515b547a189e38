from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.protocols.ranking import MISS, Seen, catalogue_ranks, top_lists

SCORES = np.array([[9.0, 9.0, 0.5, 0.7, 0.7, 0.1], [9.0, 9.0, 0.0, 0.0, 0.0, 0.0]], np.float32)


def seen(*pairs: tuple[int, int]) -> Seen:
    places, items = zip(*pairs, strict=True) if pairs else ((), ())
    return Seen(places=np.array(places, np.int64), items=np.array(items, np.int64))


def test_ties_stand_before_the_target_and_reserved_columns_count_for_nothing() -> None:
    assert catalogue_ranks(SCORES, np.array([3, 5]), seen()).tolist() == [2, 4]


def test_seen_items_leave_the_list() -> None:
    # user 0 loses the tie at 4, user 1 two of the three ties
    assert catalogue_ranks(SCORES, np.array([3, 5]), seen((0, 4), (1, 2), (1, 3))).tolist() == [1, 2]


def test_a_seen_target_is_a_miss_at_every_cut_off() -> None:
    assert catalogue_ranks(SCORES, np.array([3, 5]), seen((0, 3))).tolist() == [MISS, 4]


@pytest.mark.parametrize("target", [2, 3, 4, 5])
def test_one_row_ranks_as_it_does_in_a_batch(target: int) -> None:
    targets, filtered = np.array([target, target]), seen((0, 4), (1, 2))
    together = catalogue_ranks(SCORES, targets, filtered)
    alone = [
        catalogue_ranks(SCORES[row : row + 1], targets[:1], seen((0, [4, 2][row]))).tolist()[0] for row in range(2)
    ]
    assert together.tolist() == alone


def test_nan_counts_against_the_model() -> None:
    scores = np.array([[0.0, 0.0, np.nan, 0.2, 0.1]])
    assert catalogue_ranks(scores, np.array([3]), seen()).tolist() == [2]
    assert catalogue_ranks(scores, np.array([2]), seen()).tolist() == [3]


def test_read_only_scores_are_ranked_and_left_alone() -> None:
    scores = np.broadcast_to(SCORES[0], (3, 6))
    assert catalogue_ranks(scores, np.array([2, 3, 5]), seen((0, 3))).tolist() == [2, 2, 4]
    assert top_lists(scores, seen((0, 3)), 2)[0].tolist() == [4, 2]
    assert scores[0].tolist() == SCORES[0].tolist()


def test_lists_hold_the_best_unseen_items_and_zeros_where_there_are_no_more() -> None:
    lists = top_lists(SCORES, seen((0, 3), (0, 2)), 10)
    assert lists[0].tolist() == [4, 5] + [0] * 8
    assert set(lists[1, :4].tolist()) == {2, 3, 4, 5}
