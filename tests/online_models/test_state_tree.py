from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from online_models import state_tree

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
arrays = st.lists(st.floats(width=32), max_size=4).map(lambda values: np.array(values, np.float32))
keys = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    plain | arrays | arrays.map(torch.from_numpy),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.lists(inner).map(tuple),
    max_leaves=12,
)


@given(trees)
def test_any_tree_comes_back(tree: Any) -> None:
    assert state_tree.equal(state_tree.unpack(*state_tree.pack(tree)), tree)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        (0.0, -0.0),
        (torch.zeros(1), -torch.zeros(1)),
        (torch.zeros(1), np.zeros(1, np.float32)),
        (torch.zeros(1), torch.zeros(1, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(1, 2)),
    ],
)
def test_equal_sees_every_difference(left: Any, right: Any) -> None:
    assert not state_tree.equal(left, right)
    assert state_tree.equal(left, left)


def test_nan_equals_itself() -> None:
    assert state_tree.equal(torch.tensor([torch.nan]), torch.tensor([torch.nan]))
    assert state_tree.equal({"loss": float("nan")}, {"loss": float("nan")})


def test_big_endian_arrays_keep_their_values() -> None:
    array = np.array([1, 2], ">i4")
    assert state_tree.unpack(*state_tree.pack(array)).tolist() == [1, 2]
