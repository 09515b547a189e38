from __future__ import annotations

import numpy as np
import pytest

from online_models.bucketing import batches, by_user, sequences, windows
from online_models.evaluation.interactions import Histories, Interactions


def log(pairs: list[tuple[int, int]]) -> Interactions:
    users, items = np.array(pairs, np.int64).reshape(-1, 2).T
    number = len(pairs)
    return Interactions(
        users=users.copy(),
        items=items.copy(),
        times_seconds=np.arange(number, dtype=np.float64),
        actions=np.ones(number, np.int64),
        values=np.full(number, np.nan, np.float32),
        tested=np.ones(number, bool),
        rows=64,
        user_count=8,
    )


def test_events_are_grouped_by_user_in_stream_order() -> None:
    histories = by_user(log([(3, 9), (0, 5), (3, 8), (0, 6), (3, 7)]))
    assert histories.users.tolist() == [0, 3]
    assert histories.items_of(0).tolist() == [5, 6] and histories.items_of(1).tolist() == [9, 8, 7]
    assert histories.now_seconds.tolist() == [3.0, 4.0]
    assert len(by_user(log([]))) == 0


@pytest.mark.parametrize("shift", range(6))
def test_every_event_but_the_first_is_a_target_of_one_window(shift: int) -> None:
    histories = Histories.of([list(range(2, 2 + number)) for number in (1, 2, 5, 6, 13, 30)])
    cut = windows(histories, targets=5, shift=shift)
    assert cut.lengths.max() <= 6
    for user in range(6):
        taught = [cut.items_of(p)[1:].tolist() for p in np.flatnonzero(cut.users == user)]
        assert sum(taught, []) == histories.items_of(user)[1:].tolist()


def test_a_batch_holds_histories_of_almost_one_length() -> None:
    lengths = np.random.default_rng(3).integers(2, 40, 500)
    drawn = batches(lengths, 200, np.random.default_rng(1))
    assert sorted(np.concatenate(drawn).tolist()) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 200 for batch in drawn)
    padded = sum(int((lengths[batch].max() - lengths[batch]).sum()) for batch in drawn)
    assert padded < 0.1 * lengths.sum()
    assert [len(batch) for batch in batches(np.array([30]), 10, np.random.default_rng(1))] == [1], (
        "a long one goes alone"
    )


def test_only_the_new_events_are_targets() -> None:
    given = sequences(Histories.of([[5, 6, 7], [8]], times_seconds=[[1, 2, 3], [4]]), 50, np.array([1, 1]))
    assert given.items.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert given.target_weights.tolist() == [[0, 0, 1], [0, 0, 0]], "a first event has nothing to be predicted from"
    assert given.times_seconds.tolist() == [[1, 2, 3], [0, 0, 4]]
