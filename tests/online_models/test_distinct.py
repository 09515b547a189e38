from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from online_models.distinct import distinct, numbered, without


@pytest.mark.parametrize("seed", range(20))
def test_rows_stand_where_they_appear_first(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, random.integers(1, 5_000), random.integers(1, 3_000))
    assert distinct(rows).tolist() == list(dict.fromkeys(rows.tolist()))


def test_what_an_earlier_call_left_behind_changes_nothing() -> None:
    assert distinct(np.array([9, 3, 9])).tolist() == [9, 3]
    assert distinct(np.array([3])).tolist() == [3]
    assert distinct(np.array([5_000, 0, 9, 0])).tolist() == [5_000, 0, 9]
    assert distinct(np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_places_are_those_of_the_distinct_rows_in_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, random.integers(1, 90_000), random.integers(0, 3_000))
    known, places = numbered(rows)
    assert known.tolist() == sorted(set(rows.tolist()))
    assert np.array_equal(known[places], rows)


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_are_named_elsewhere_are_left_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, others = random.integers(0, 60, random.integers(0, 30)), random.integers(0, 200, random.integers(0, 30))
    assert without(rows, others).tolist() == [row for row in rows.tolist() if row not in set(others.tolist())]


def test_threads_do_not_meet() -> None:
    def work(seed: int) -> bool:
        random = np.random.default_rng(seed)
        for _ in range(50):
            rows = random.integers(0, 2_000, 500)
            if distinct(rows).tolist() != list(dict.fromkeys(rows.tolist())):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
