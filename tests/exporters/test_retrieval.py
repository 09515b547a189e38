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


def recall(index: VectorIndex, held: np.ndarray, k: int = 20) -> float:
    """Share of the true best that a search finds, over some queries; scores are checked on the way."""
    found = 0
    for query in vectors(20, seed=1):
        rows, scores = index.search(query, k)
        np.testing.assert_allclose(scores, held[rows] @ query, rtol=1e-4, atol=1e-5)
        assert (np.diff(scores) <= 0).all() and len(set(rows.tolist())) == len(rows)
        found += len(set(rows.tolist()) & set(best(held, query, k)))
    return found / (20 * k)


def test_a_large_one_is_searched_by_cells_and_scored_exactly():
    held, index = vectors(5_000), VectorIndex(D, exact_below=1_000)
    index.upsert(np.arange(5_000), held)
    assert index.settle() and not index.exact
    assert recall(index, held) > 0.9
    wider = VectorIndex(D, exact_below=1_000, breadth=1_000)
    wider.upsert(np.arange(5_000), held)
    assert wider.settle() and recall(wider, held) == 1


def test_every_item_is_found_at_once_and_the_cells_come_in_the_background():
    held, index = vectors(5_000), VectorIndex(D, exact_below=1_000)
    index.upsert(np.arange(5_000), held)
    assert recall(index, held) > 0.9  # before or after the switch
    index.settle()
    assert not index.exact and len(index) == 5_000


def test_a_catalogue_that_has_shrunk_is_searched_exactly_again():
    held, index = vectors(3_000), VectorIndex(D, exact_below=1_000)
    index.upsert(np.arange(3_000), held)
    index.settle()
    index.remove(np.arange(400, 3_000))
    index.settle()
    assert index.exact and recall(index, held[:400]) == 1


def test_what_changes_while_centres_are_learnt_is_not_lost(monkeypatch):
    held, index = vectors(3_000), VectorIndex(D, exact_below=1_000, breadth=1_000)
    begun, go_on = threading.Event(), threading.Event()
    arranged = index._arranged

    def slowly(cells):
        begun.set()
        go_on.wait(10)
        return arranged(cells)

    monkeypatch.setattr(index, "_arranged", slowly)
    index.upsert(np.arange(3_000), held)
    assert begun.wait(10) and not index.settle(0)
    held = np.concatenate([held, vectors(500, seed=3)])
    held[:100] = vectors(100, seed=4)
    index.upsert(np.arange(3_000, 3_500), held[3_000:])
    index.upsert(np.arange(100), held[:100])
    index.remove(np.arange(200, 300))
    assert index.exact  # searched as before
    go_on.set()
    assert index.settle(10) and not index.exact and len(index) == 3_400
    rows, _ = index._held.everything()
    assert sorted(rows.tolist()) == [*range(200), *range(300, 3_500)]
    assert all(np.array_equal(index._held.vector_of(row), held[row]) for row in (0, 99, 150, 3_000, 3_499))


def test_centres_that_cannot_be_learnt_leave_what_was_searched(monkeypatch, caplog):
    held, index = vectors(2_000), VectorIndex(D, exact_below=1_000)
    monkeypatch.setattr(index, "_arranged", lambda cells: 1 / 0)
    index.upsert(np.arange(2_000), held)
    assert index.settle(10) and index.exact and recall(index, held) == 1
    assert "could not be arranged" in caplog.text
    monkeypatch.undo()
    index.upsert(np.arange(2_000, 2_010), vectors(10, seed=5))
    assert index.settle(10) and not index.exact  # the next change tries again


def test_a_change_is_seen_whole_or_not_at_all():
    """Every upsert turns all vectors over; a search must never see both kinds."""
    index = VectorIndex(D, exact_below=500)
    one = np.abs(vectors(1_500))
    index.upsert(np.arange(1_500), one)
    mixed: list[np.ndarray] = []
    stop = threading.Event()

    def search() -> None:
        query = np.ones(D, np.float32)
        while not stop.is_set():
            scores = index.search(query, 50)[1]
            if len(scores) and (scores > 0).any() and (scores < 0).any():
                mixed.append(scores)

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(30):
        index.upsert(np.arange(1_500), one if round_ % 2 else -one)
    stop.set()
    for reader in readers:
        reader.join()
    assert not mixed and index.settle(10)


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


@pytest.mark.parametrize("exact_below", [10_000, 100])
def test_a_pinned_version_is_searched_while_the_stream_goes_on_behind_it(exact_below):
    held, index = vectors(1_000), VectorIndex(D, exact_below=exact_below)
    index.upsert(np.arange(1_000), held)
    index.settle()
    version = vectors(400, seed=5)
    index.pin(index.of_version(np.arange(600, 1_000), version))
    query = vectors(1, seed=1)[0]
    assert index.search(query, 1)[0].tolist() == [600 + best(version, query, 1)[0]] and len(index) == 400
    assert index.similar(5, 3)[0].tolist() == [], "the version has no such row"
    index.upsert(np.array([3, 2_000]), np.stack([query * 9, query * 8]))
    index.remove(np.array([4]))
    assert index.search(query, 1)[0].tolist() == [600 + best(version, query, 1)[0]]
    index.unpin()
    assert index.search(query, 2)[0].tolist() == [3, 2_000] and len(index) == 1_000
    assert index.similar(4, 3)[0].tolist() == []


def test_worn_out_centres_are_learnt_anew():
    held, index = vectors(600), VectorIndex(D, exact_below=100)
    index.upsert(np.arange(600), held)
    index.settle()
    learnt = index._held.nearest
    for round_ in range(5):
        held = 10 * vectors(600, seed=10 + round_)
        index.upsert(np.arange(600), held)
        index.settle()
    assert index._held.nearest is not learnt and recall(index, held, 10) > 0.9


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
