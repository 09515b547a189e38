from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporters import table_digest
from exporters.table_digest import BUCKETS, bucket_sums, differing, id_digests, neighbour_digests, row_digests

RNG = np.random.default_rng(5)


@given(st.integers(0, 199), st.integers(0, 7), st.integers(0, 31))
def test_any_flipped_bit_is_found_in_its_bucket(row, column, bit):
    values, rows = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32), np.arange(200)
    before = bucket_sums(row_digests(values, rows), rows)
    values.view(np.uint32)[row, column] ^= np.uint32(1 << bit)
    assert differing(before, bucket_sums(row_digests(values, rows), rows)) == [row % BUCKETS]


def test_rows_and_columns_that_change_places_are_found():
    values, rows = RNG.normal(size=(BUCKETS * 2, 4)).astype(np.float32), np.arange(BUCKETS * 2)
    before = bucket_sums(row_digests(values, rows), rows)
    swapped = values.copy()
    swapped[[3, 3 + BUCKETS]] = values[[3 + BUCKETS, 3]]  # within one bucket
    assert differing(before, bucket_sums(row_digests(swapped, rows), rows)) == [3]
    assert differing(before, bucket_sums(row_digests(values[:, ::-1], rows), rows)) == list(range(BUCKETS))


def test_neighbours_and_weights_are_told_apart_and_empty_lists_count_nothing():
    items, weights, rows = np.array([[5, 0]], np.int32), np.array([[1, 0]], np.float32), np.array([4])
    other = neighbour_digests(weights.view(np.int32), items.view(np.float32), rows)
    assert neighbour_digests(items, weights, rows) != other
    assert neighbour_digests(0 * items, 0 * weights, rows).tolist() == [0]


def test_ids_count_with_their_rows():
    assert id_digests(["a", None], np.array([2, 3]))[1] == 0
    assert id_digests(["a"], np.array([2])) != id_digests(["a"], np.array([3]))


def test_large_tables_are_read_in_parts(monkeypatch):
    values, rows = RNG.normal(size=(50, 4)).astype(np.float32), np.arange(50)
    whole = row_digests(values, rows)
    ids = [None if row % 5 == 0 else f"i{row}" for row in rows]
    named = id_digests(ids, rows)
    monkeypatch.setattr(table_digest, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(table_digest, "_IDS_AT_ONCE", 7)
    assert row_digests(values, rows).tolist() == whole.tolist()
    assert id_digests(ids, rows).tolist() == named.tolist()
