from __future__ import annotations

import numpy as np

from exporters.cells import Cells

D = 8


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)


def held(cells: Cells) -> dict[int, list[float]]:
    rows, found = cells.everything()
    return {row: vector.tolist() for row, vector in zip(rows.tolist(), found, strict=True)}


def test_changes_make_a_new_one_and_leave_the_old_one_alone():
    first = Cells.clustered(np.arange(300), vectors(300), 20)
    before = held(first)
    moved = vectors(40, seed=1)
    second = first.with_rows(np.arange(290, 330), moved).without(np.array([0, 5, 900, -3]))
    assert held(first) == before and len(first) == 300
    assert len(second) == 328 and not {0, 5} & held(second).keys()
    assert held(second)[290] == moved[0].tolist() and held(second)[329] == moved[39].tolist()
    shared = [one.vectors is two.vectors for one, two in zip(first.cells, second.cells, strict=True)]
    assert 0 < sum(shared) < len(shared)


def test_every_row_lies_in_the_cell_that_it_is_looked_for_in():
    cells = Cells.clustered(np.arange(0, 600, 2), vectors(300), 12)
    for seed in range(3):
        cells = cells.with_rows(np.arange(seed, 600, 7), vectors(len(range(seed, 600, 7)), seed=seed))
    for number, cell in enumerate(cells.cells):
        assert (cells.cell_of[cell.rows] == number).all() and cells.sizes[number] == len(cell.rows)
        apart = np.linalg.norm(cell.vectors - cells.nearest.centres[number], axis=1)
        np.testing.assert_allclose(cells.radii[number], apart.max(initial=0), rtol=1e-4)
    assert np.array_equal(cells.vector_of(14), held(cells)[14]) and cells.vector_of(601) is None
    assert cells.vector_of(-1) is None and cells.vector_of(10_000) is None


def test_vectors_that_move_within_their_cells_are_found_where_they_are_now():
    given = vectors(300)
    before = Cells.clustered(np.arange(300), given, 12)
    rows = np.random.default_rng(3).permutation(300)[:60]
    moved = given[rows] + 1e-3 * vectors(60, seed=5)
    after = before.with_rows(rows, moved)
    assert np.array_equal(before.cell_of, after.cell_of), "no step leads out of a cell"
    expected = dict(enumerate(given.tolist())) | dict(zip(rows.tolist(), moved.tolist(), strict=True))
    assert held(after) == expected and held(before) == dict(enumerate(given.tolist()))
    for number, cell in enumerate(after.cells):
        assert cell.rows is before.cells[number].rows, "only what differs is written"
        apart = np.linalg.norm(cell.vectors - after.nearest.centres[number], axis=1)
        np.testing.assert_allclose(cell.radius, apart.max(initial=0), rtol=1e-4)


def test_rows_are_gathered_where_they_are_held():
    cells = Cells.clustered(np.arange(100), vectors(100), 5)
    rows, found = cells.gather(np.array([3, 99, 100, 5_000]))
    order = np.argsort(rows)
    assert rows[order].tolist() == [3, 99] and np.array_equal(found[order], vectors(100)[[3, 99]])
    assert len(cells.gather(np.array([700]))[0]) == 0


def test_a_search_scores_what_it_was_asked_to_and_not_much_more():
    cells = Cells.clustered(np.arange(5_000), vectors(5_000), 100)
    for query in vectors(5, seed=2):
        for budget in (1, 100, 1_000):
            chosen, takes = cells._chosen(query, budget)
            assert len(chosen) and takes[:-1].sum() < budget <= takes.sum() < 2 * budget
        assert len(cells._chosen(query, 10_000)[0]) == len(cells.cells)


def test_one_giant_cell_does_not_make_a_search_slow():
    """Items without a vector of their own, all in one place."""
    given = np.concatenate([vectors(2_000) + 3, np.zeros((20_000, D), np.float32)])
    cells = Cells.clustered(np.arange(22_000), given, 100)
    assert cells.sizes.max() >= 20_000
    query = np.ones(D, np.float32)
    assert cells._chosen(query, 500)[1].sum() < 1_000
    rows, scores = cells.search(query, 10, 500)
    assert rows.max() < 2_000 and (scores > 0).all()
    rows, scores = cells.search(-query, 10, 500)  # the zeros are best here, and any of them will do
    assert rows.min() >= 2_000 and not scores.any()


def test_cells_that_came_out_too_large_are_divided():
    lump = 0.01 * vectors(4_000, seed=4)
    cells = Cells.clustered(np.arange(5_000), np.concatenate([vectors(1_000) * 20, lump]), 50)
    assert cells.sizes.max() < 1_500 and cells.sizes.sum() == 5_000


def test_an_empty_one_answers_nothing():
    empty = Cells.empty(D)
    rows, scores = empty.search(np.ones(D, np.float32), 5, 10)
    assert len(rows) == len(scores) == len(empty) == empty.nbytes == 0
    assert len(empty.without(np.array([1, 2]))) == 0 and len(empty.everything()[0]) == 0
    emptied = Cells.clustered(np.arange(50), vectors(50), 4).without(np.arange(50))
    assert len(emptied.search(np.ones(D, np.float32), 5, 10)[0]) == 0
