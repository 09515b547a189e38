from __future__ import annotations

import numpy as np
import pytest

from online_models.counting import Cooccurrence, ItemKNN, Popularity, Transitions
from online_models.distinct import numbers_within
from online_models.source_lists import examples_at_once, read_many
from online_models.sources import CandidateSources

ROWS = 60
Tables = dict[str, ItemKNN | Cooccurrence | Transitions | Popularity]


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Counts of a random walk, with full rows."""
    random = np.random.default_rng(4)
    learners = (ItemKNN(ROWS, 8), Cooccurrence(ROWS, 8), Transitions(ROWS, 8), Popularity(ROWS, width=20))
    made: Tables = {learner.name: learner for learner in learners}
    for time_s in range(300):
        history, target = random.integers(2, ROWS, 30), int(random.integers(2, ROWS))
        for learner in learners[:3]:
            learner.observe(history, target)  # type: ignore[union-attr]
        learners[3].observe(target, float(time_s))
    return made


@pytest.fixture
def histories() -> np.ndarray:
    """Full, short, with gaps, unknown, empty. [B, L]."""
    random = np.random.default_rng(5)
    histories = random.integers(0, ROWS, (12, 30))
    histories[3, :-2], histories[4], histories[5] = 0, 1, 0
    histories[6] = np.where(random.random(30) < 0.5, 0, histories[6])
    return histories


@pytest.mark.parametrize("limit", [1, 7, 30, 200])
def test_a_batch_reads_what_each_history_alone_reads(tables: Tables, histories: np.ndarray, limit: int) -> None:
    random = np.random.default_rng(6)
    extra = random.integers(0, ROWS, (len(histories), 3))
    lists, sources = read_many(tables, histories, ROWS), CandidateSources(tables)
    closed = np.zeros(len(histories) * ROWS, bool)
    closed[lists.keys_of(histories).ravel()] = True
    found = lists.best(limit, closed, extra)
    scores = lists.of(found)
    for example, history in enumerate(histories):
        alone, alone_scores = sources.gather(history, limit, exclude=history, extra=extra[example])
        own = found // ROWS == example
        assert (found[own] % ROWS).tolist() == alone.tolist()
        np.testing.assert_allclose(scores[own], alone_scores, rtol=1e-5)


def test_scores_of_any_row_are_those_of_one_reading(tables: Tables, histories: np.ndarray) -> None:
    asked = np.tile(np.arange(2, ROWS), (len(histories), 1))
    lists, sources = read_many(tables, histories, ROWS), CandidateSources(tables)
    scores = lists.of(lists.keys_of(asked).ravel()).reshape(len(histories), ROWS - 2, -1)
    alone = np.stack([sources.score(history, rows) for history, rows in zip(histories, asked, strict=True)])
    np.testing.assert_allclose(scores, alone, rtol=1e-5)


def test_without_any_table_only_what_comes_from_elsewhere_is_found(histories: np.ndarray) -> None:
    lists = read_many({}, histories, ROWS)
    extra = np.zeros((len(histories), 2), np.int64)
    extra[2] = 9, 7
    found = lists.best(5, np.zeros(len(histories) * ROWS, bool), extra)
    assert found.tolist() == [2 * ROWS + 9, 2 * ROWS + 7] and lists.of(found).shape == (2, 0)


@pytest.mark.parametrize("rows", [5, 1_000, 20_000, 1 << 20, 1 << 24])
def test_a_sort_key_has_room_for_source_score_and_place(rows: int) -> None:
    examples = examples_at_once(rows)
    groups = 9 * examples  # sources and examples
    assert examples >= 1
    assert (groups - 1).bit_length() + 31 + (examples * rows).bit_length() <= 63


def test_entries_are_counted_within_their_group() -> None:
    assert numbers_within(np.array([1, 1, 4])).tolist() == [0, 1, 0]
    assert numbers_within(np.zeros(0, np.int64)).tolist() == []
