from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from feature_store.user_vectors import UserVectors


@pytest.fixture
def vectors(tmp_path: Path) -> Iterator[UserVectors]:
    opened = UserVectors.open(tmp_path / "feast")
    yield opened
    opened.close()


def push(vectors: UserVectors, value: float, users: tuple[str, ...] = ("ada", "bob"), space: str = "s1") -> None:
    given = np.full((len(users), 4), value, np.float32) + np.arange(4, dtype=np.float32)
    vectors.push(users, given, space=space, version="000001-ab", time_ms=1_700_000_000_000)


def test_what_is_pushed_is_read_back_bit_for_bit(vectors: UserVectors) -> None:
    push(vectors, 0.1)
    found = vectors.read("bob")
    assert found is not None
    assert found.vector.dtype == np.float32
    assert np.array_equal(found.vector, np.full(4, 0.1, np.float32) + np.arange(4, dtype=np.float32))
    assert (found.space, found.version, found.computed_time_ms) == ("s1", "000001-ab", 1_700_000_000_000)
    assert vectors.read("nobody") is None


def test_the_latest_push_stands(vectors: UserVectors) -> None:
    push(vectors, 1.0)
    push(vectors, 2.0, users=("ada",), space="s2")
    ada, bob = vectors.read("ada"), vectors.read("bob")
    assert ada is not None and bob is not None
    assert (ada.space, bob.space) == ("s2", "s1") and ada.vector[0] == 2 and bob.vector[0] == 1


def test_another_process_with_the_records_of_users_does_not_meet_them(vectors: UserVectors, tmp_path: Path) -> None:
    store = OnlineStore.open(tmp_path / "feast")
    store.push([UserState(user_id="ada", total_events=3)])
    push(vectors, 1.0)
    state = store.read("ada")
    assert state is not None and state.total_events == 3
    store.close()


def test_nothing_broken_is_written(vectors: UserVectors) -> None:
    with pytest.raises(ValueError, match="2 users came with vectors of shape"):
        vectors.push(["a", "b"], np.zeros((3, 4), np.float32), space="s", version="v", time_ms=1)
    with pytest.raises(ValueError, match="finite"):
        vectors.push(["a"], np.full((1, 4), np.nan, np.float32), space="s", version="v", time_ms=1)
    assert vectors.read("a") is None


def test_on_redis(redis_url: str, tmp_path: Path) -> None:
    opened = UserVectors.open(tmp_path / "feast", "redis", redis_url, project="vectors_of_users")
    push(opened, 3.0)
    found = opened.read("ada")
    assert found is not None and found.vector[0] == 3
    opened.close()
