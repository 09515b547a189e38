"""Logs and histories put together and taken apart."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.evaluation.interactions import Histories
from online_models.recommenders.logs import concatenated, histories_before, joined, split_newest
from tests.online_models.recommenders.small_logs import log_of, random_log


def test_joined_logs_keep_their_order() -> None:
    log = random_log()
    both = joined(log.take(slice(0, 50)), None, log.take(slice(50, None)))
    assert np.array_equal(both.items, log.items) and np.array_equal(both.times_seconds, log.times_seconds)


def test_no_log_is_refused() -> None:
    with pytest.raises(ValueError, match="give at least one"):
        joined(None)


def test_without_validation_items_the_newest_are_held_out() -> None:
    log = log_of([(0, 2), (0, 3), (1, 4), (2, 5), (2, 6)])
    train, validation = split_newest(log)
    assert train.items.tolist() == [2, 4, 5] and validation.items.tolist() == [3, 6]


def test_histories_before_events() -> None:
    log = log_of([(0, 2), (1, 3), (0, 4), (1, 5)])
    histories = histories_before(log.take(slice(0, 3)), log.take(np.array([3, 2])))
    assert histories.items_of(0).tolist() == [3] and histories.items_of(1).tolist() == [2, 4]


def test_blocks_of_histories_join() -> None:
    both = concatenated([Histories.of([[2, 3], [4]]), Histories.of([[], [5]])])
    assert [both.items_of(place).tolist() for place in range(4)] == [[2, 3], [4], [], [5]]
