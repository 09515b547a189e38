"""EASE against its closed form, and its Gram matrix against the batch one."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.checks import SIZES, example_batch
from online_models.counting import EASE
from online_models.counting.ease import ease_weights


def _streams(seed: int, users: int = 12, rows: int = 20) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [draw.permutation(np.arange(2, rows))[: draw.integers(2, 8)].tolist() for _ in range(users)]


def _taught(learner: EASE, streams: list[list[int]]) -> EASE:
    for items in streams:
        for place, target in enumerate(items):
            learner.observe(np.array([0, *items[:place]]), target)
    return learner


def test_weights_are_the_closed_form() -> None:
    draw = np.random.default_rng(0)
    taken = (draw.random((50, 30)) < 0.2).astype(np.float64)
    inverse = np.linalg.inv(taken.T @ taken + 7.0 * np.eye(30))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert np.allclose(ease_weights((taken.T @ taken).astype(np.float32), 7.0), expected, atol=1e-5)


def test_large_matrices_are_whole() -> None:
    """More rows than one block of the copy."""
    draw = np.random.default_rng(0)
    taken = (draw.random((300, 1100)) < 0.02).astype(np.float32)
    weights = ease_weights(taken.T @ taken, 50.0)
    # a minimum of |X - XB|² + λ|B|²: off the diagonal the gradient is 0
    gradient = taken.T @ (taken @ weights - taken) + 50.0 * weights
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-3


def test_online_gram_is_the_batch_gram() -> None:
    streams = _streams(1)
    learner = _taught(EASE(rows=20, refit_events=10_000), streams)
    taken = np.zeros((len(streams), 20), np.float32)
    for user, items in enumerate(streams):
        taken[user, items] = 1
    slots = learner.slot_of_row[2:]
    used = np.flatnonzero(slots >= 0) + 2
    places = learner.slot_of_row[used]
    assert np.array_equal(learner.gram[np.ix_(places, places)], (taken.T @ taken)[np.ix_(used, used)])


def test_an_item_taken_again_adds_nothing() -> None:
    learner = EASE(rows=20)
    learner.observe(np.array([2, 3]), 2)
    assert len(learner.gram) == 0


def test_rows_are_published_after_a_refit() -> None:
    learner = _taught(EASE(rows=20, width=20, l2=2.0, refit_events=10_000), _streams(2))
    assert learner.touched() == []
    learner.refit()
    rows = learner.touched()
    assert rows == sorted(np.flatnonzero(learner.slot_of_row >= 0).tolist())
    items, weights = learner.best(rows[0], 5)
    assert rows[0] not in items and (np.diff(weights) <= 0).all()


def test_refits_come_by_events() -> None:
    learner = EASE(rows=20, refit_events=3)
    for target in (2, 3):
        learner.observe(np.zeros(0, np.int64), target)
    assert learner.items.shape[1] == 0
    learner.observe(np.array([2, 3]), 4)
    assert learner.best(2, 1)[0].tolist() in ([3], [4])


def test_score_sums_weights_of_the_history() -> None:
    learner = _taught(EASE(rows=SIZES.rows, width=SIZES.rows, l2=2.0, refit_events=10_000), _streams(3, rows=60))
    learner.refit()
    batch = example_batch(seed=4)
    scores = learner.score(batch.context, batch.candidates).numpy()
    history, item = np.unique(batch.context.history_items[0].numpy()), int(batch.candidates.items[0, 0])
    items, weights = learner.lookup(history[history > 1])
    assert scores[0, 0] == pytest.approx(float(weights[items == item].sum()), abs=1e-6)


def test_full_matrix_gives_up_the_item_with_the_fewest_users() -> None:
    learner = EASE(rows=40, capacity=16)
    empty = np.zeros(0, np.int64)
    for target in range(2, 18):
        for _ in range(1 if target == 9 else 2):
            learner.observe(empty, target)
    learner.observe(np.array([2]), 30)
    assert learner.slot_of_row[9] == -1 and learner.slot_of_row[30] >= 0
    assert learner.gram.shape == (16, 16)
    assert learner.gram[learner.slot_of_row[30], learner.slot_of_row[2]] == 1


def test_forgotten_rows_are_nobodys_neighbours() -> None:
    learner = _taught(EASE(rows=20, l2=2.0), _streams(5))
    learner.refit()
    learner.forget(np.array([5]))
    assert 5 not in learner.items and learner.slot_of_row[5] == -1
    learner.refit()
    assert 5 not in learner.items


def test_l2_must_be_positive() -> None:
    with pytest.raises(ValueError, match="l2 is 0"):
        ease_weights(np.eye(2, dtype=np.float32), 0)
