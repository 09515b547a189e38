from __future__ import annotations

import threading

import numpy as np
import pytest

from exporters.retrieval import VectorIndex

D = 16


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)


def best(held: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    return np.argsort(-(held @ query), kind="stable")[:k].tolist()


def test_a_small_catalogue_is_searched_exactly():
    held, index = vectors(3_000), VectorIndex(D)
    index.upsert(np.arange(3_000), held)
    assert index.exact and len(index) == 3_000
    for query in vectors(5, seed=1):
        rows, scores = index.search(query, 20)
        assert rows.tolist() == best(held, query, 20)
        np.testing.assert_allclose(scores, (held @ query)[rows], rtol=1e-5)


def test_a_large_one_is_searched_by_the_graph_and_scored_exactly():
    held, index = vectors(5_000), VectorIndex(D, exact_below=1_000)
    index.upsert(np.arange(5_000), held)
    assert not index.exact
    found = 0
    for query in vectors(20, seed=1):
        rows, scores = index.search(query, 20)
        np.testing.assert_allclose(scores, held[rows] @ query, rtol=1e-5)
        assert (np.diff(scores) <= 0).all()
        found += len(set(rows.tolist()) & set(best(held, query, 20)))
    assert found / 400 > 0.9


@pytest.mark.parametrize("exact_below", [10_000, 100])
def test_updates_show_at_once_and_removed_rows_are_gone(exact_below):
    held, index = vectors(1_000), VectorIndex(D, exact_below=exact_below)
    index.upsert(np.arange(1_000), held)
    query = vectors(1, seed=2)[0]
    index.upsert(np.array([700, 2_500]), np.stack([10 * query, 20 * query]))
    assert index.search(query, 2)[0].tolist() == [2_500, 700] and len(index) == 1_001
    index.remove(np.array([2_500, 999_999, 2_500]))
    assert index.search(query, 1)[0].tolist() == [700] and len(index) == 1_000
    index.upsert(np.array([700]), -10 * query[None])
    assert 700 not in index.search(query, 50)[0]


def test_a_worn_out_graph_is_built_anew():
    held, index = vectors(600), VectorIndex(D, exact_below=100)
    index.upsert(np.arange(600), held)
    built = index._graph
    for round_ in range(5):
        held = vectors(600, seed=10 + round_)
        index.upsert(np.arange(600), held)
    assert index._graph is not built
    found = [
        len(set(index.search(query, 10)[0].tolist()) & set(best(held, query, 10))) for query in vectors(20, seed=3)
    ]
    assert np.mean(found) > 9


@pytest.mark.parametrize("exact_below", [10_000, 10])
def test_similar_leaves_the_item_itself_out(exact_below):
    index = VectorIndex(2, exact_below=exact_below)
    angles = np.linspace(0, 3, 40)
    index.upsert(np.arange(40), np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))
    rows, scores = index.similar(20, 2)
    assert set(rows.tolist()) == {19, 21} and scores[0] > 0.99
    assert [len(part) for part in index.similar(999, 3)] == [0, 0]


@pytest.mark.parametrize("exact_below", [10_000, 10])
def test_an_emptied_index_finds_nothing(exact_below):
    index = VectorIndex(D, exact_below=exact_below)
    assert len(index.search(np.ones(D, np.float32), 5)[0]) == 0
    index.upsert(np.arange(50), vectors(50))
    index.remove(np.arange(50))
    assert len(index.search(np.ones(D, np.float32), 5)[0]) == 0
    index.upsert(np.arange(3), vectors(3))
    assert len(index.search(np.ones(D, np.float32), 5)[0]) == 3


def test_wrong_shapes_are_errors():
    with pytest.raises(ValueError, match=r"expected \(2, 16\)"):
        VectorIndex(D).upsert(np.arange(2), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"expected \(16,\)"):
        VectorIndex(D).search(np.zeros(3, np.float32), 1)


def test_searches_go_on_while_one_thread_writes():
    index = VectorIndex(D, exact_below=200)
    index.upsert(np.arange(500), vectors(500))
    failures: list[BaseException] = []
    stop = threading.Event()

    def search() -> None:
        query = vectors(1, seed=9)[0]
        while not stop.is_set():
            try:
                rows, scores = index.search(query, 10)
                assert len(rows) >= 9 and np.isfinite(scores).all()
            except BaseException as error:  # reported by the test below
                failures.append(error)
                return

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(6):
        index.upsert(np.arange(0, 500, 2), vectors(250, seed=round_))
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
