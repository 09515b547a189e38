from __future__ import annotations

import numpy as np
import pytest

from online_models.checks import example_batch
from streamer.snapshots import SnapshotStore
from streamer.waiting_labels import WaitingBatches


@pytest.fixture
def waiting(example) -> WaitingBatches:
    """Three batches of two examples each, at 0, 1 and 2 s; none waits longer than 10 s, six examples at most."""
    made = WaitingBatches(most=6, wait_seconds=10)
    for number in range(3):
        made.add(example_batch(seed=number, examples=2), [example(2 * number), example(2 * number + 1)], number * 1_000)
    return made


def first_ids(taken) -> list[str]:
    return [one.example_ids[0] for one in taken]


def test_a_batch_leaves_when_all_its_labels_are_there(waiting: WaitingBatches) -> None:
    assert waiting.take({"x0", "x2"}, 3_000, most=9) == []
    assert first_ids(waiting.take({"x0", "x2", "x3"}, 3_000, most=9)) == ["x2"], "a later one need not wait for others"
    assert len(waiting) == 2 and waiting.examples == 4


def test_or_when_its_time_is_over(waiting: WaitingBatches) -> None:
    assert waiting.take((), 9_999, most=9) == []
    assert first_ids(waiting.take((), 11_000, most=9)) == ["x0", "x2"]


def test_or_when_there_are_too_many(waiting: WaitingBatches, example) -> None:
    waiting.add(example_batch(examples=1), [example(9)], 3_000)
    assert first_ids(waiting.take((), 3_000, most=0)) == ["x0"] and waiting.examples == 5


def test_they_leave_a_few_at_a_time_oldest_first(waiting: WaitingBatches) -> None:
    everything = {f"x{number}" for number in range(6)}
    assert first_ids(waiting.take(everything, 0, most=2)) == ["x0", "x2"]
    assert first_ids(waiting.take(everything, 0, most=2)) == ["x4"] and len(waiting) == 0


def test_items_that_have_left_are_blanked(waiting: WaitingBatches) -> None:
    row = int(example_batch(seed=1, examples=2).candidates.items[0, 0])
    waiting.forget(np.array([row]))
    for one in waiting.take((), 99_000, most=9):
        assert not (one.batch.candidates.items == row).any() and not (one.batch.context.history_items == row).any()


def test_a_snapshot_holds_all_of_it(waiting: WaitingBatches, tmp_path) -> None:
    store = SnapshotStore(tmp_path)
    store.save(waiting.state_dict(), {})
    again = WaitingBatches(most=6, wait_seconds=10)
    snapshot = store.latest()
    assert snapshot is not None
    again.load_state_dict(snapshot.state)
    for one, other in zip(waiting.take((), 99_000, most=9), again.take((), 99_000, most=9), strict=True):
        assert (one.example_ids, one.published_ms, one.since_ms) == (
            other.example_ids,
            other.published_ms,
            other.since_ms,
        )
        assert (one.batch.labels == other.batch.labels).all()
        assert (one.batch.candidates.source_scores == other.batch.candidates.source_scores).all()
