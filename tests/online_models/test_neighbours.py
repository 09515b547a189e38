from __future__ import annotations

import numpy as np

from online_models.neighbours import NeighbourTable, PairCounts


def pairs_of(counts: PairCounts, row: int) -> dict[int, float]:
    items, amounts = counts.lookup(np.array([row]))
    return {item: amount for item, amount in zip(items[0].tolist(), amounts[0].tolist(), strict=True) if item}


def add(counts: PairCounts, row: int, *partners: int, amount: float = 1.0) -> None:
    for partner in partners:
        counts.add(np.array([row]), np.array([partner]), np.array([amount], np.float32))


def test_a_row_is_replaced_whole_and_cut_to_the_width() -> None:
    table = NeighbourTable(rows=4, width=3)
    table.put(2, np.array([5, 6, 7, 8]), np.array([4.0, 3.0, 2.0, 1.0]))
    assert table.items[2].tolist() == [5, 6, 7] and table.weights[2].tolist() == [4, 3, 2]
    table.put(2, np.array([9]), np.array([0.5]))
    assert table.items[2].tolist() == [9, 0, 0] and table.weights[2].tolist() == [0.5, 0, 0]


def test_rows_past_the_end_have_no_neighbours_until_the_table_grows() -> None:
    table = NeighbourTable(rows=3, width=2)
    table.put(2, np.array([1]), np.array([1.0]))
    items, weights = table.lookup(np.array([2, 3, 100]))
    assert items.tolist() == [[1, 0], [0, 0], [0, 0]] and weights[1:].sum() == 0
    table.grow(5)
    table.put(4, np.array([2]), np.array([2.0]))
    assert table.lookup(np.array([2, 4]))[0].tolist() == [[1, 0], [2, 0]]
    table.grow(2)
    assert len(table.items) == len(table.weights) == 5, "a table never shrinks"


def test_pairs_add_up_in_their_own_direction() -> None:
    counts = PairCounts(rows=6, width=3)
    counts.add(np.array([2, 3]), np.array([4, 2]), np.array([1.0, 0.5]))
    counts.add(np.array([2, 3]), np.array([4, 5]), np.array([2.0, 0.25]))
    assert [pairs_of(counts, row) for row in (2, 3, 4)] == [{4: 3.0}, {2: 0.5, 5: 0.25}, {}]


def test_one_call_may_add_several_partners_to_one_row() -> None:
    counts = PairCounts(rows=6, width=3)
    counts.add(np.full(3, 2), np.array([3, 4, 5]), np.array([3.0, 2.0, 1.0]))
    assert pairs_of(counts, 2) == {3: 3.0, 4: 2.0, 5: 1.0}


def test_a_full_row_gives_the_place_of_its_smallest_count() -> None:
    counts = PairCounts(rows=9, width=2)
    add(counts, 2, 3, 3, 4)
    add(counts, 2, 5)
    assert pairs_of(counts, 2) == {3: 2.0, 5: 1.0}
    assert counts.items.shape == (9, 2), "memory is bounded"


def test_what_is_cleared_is_gone_wherever_it_stood() -> None:
    counts = PairCounts(rows=6, width=2)
    add(counts, 2, 3, 4)
    add(counts, 3, 2)
    add(counts, 4, 3, 5)
    counts.clear(np.array([3]))
    assert [pairs_of(counts, row) for row in (2, 3, 4)] == [{4: 1.0}, {}, {5: 1.0}]
    assert counts.counts.sum() == 2, "no count outlives its partner"
    add(counts, 2, 5)
    assert pairs_of(counts, 2) == {4: 1.0, 5: 1.0}, "the place is free again"


def test_a_batch_of_pairs_counts_like_one_after_the_other() -> None:
    random = np.random.default_rng(1)
    rows, partners = random.integers(2, 30, 400), random.integers(2, 30, 400)
    amounts = random.integers(1, 4, 400).astype(np.float32)
    together, apart = PairCounts(rows=30, width=28), PairCounts(rows=30, width=28)
    together.add(rows, partners, amounts)
    for row, partner, amount in zip(rows, partners, amounts, strict=True):
        apart.add(np.array([row]), np.array([partner]), np.array([amount]))
    assert all(pairs_of(together, row) == pairs_of(apart, row) for row in range(30))


def test_newcomers_of_one_batch_make_room_one_after_the_other() -> None:
    counts = PairCounts(rows=6, width=2)
    add(counts, 2, 3, amount=5.0)
    counts.add(np.array([2, 2, 2]), np.array([3, 4, 5]), np.array([1.0, 1.0, 2.0]))
    assert pairs_of(counts, 2) == {3: 6.0, 5: 2.0}
