from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.foundation import MODEL, VECTORS
from exporters.registry import Draft
from feature_store.user_vectors import UserVectors
from streamer.serve import known_of
from streamer.server_state import ServerState
from streamer.settings import Learning, Settings, Stores


@pytest.fixture
def state(tmp_path: Path) -> ServerState:
    learning = Learning(catalog_rows=64, dimension=8, neighbours=10)
    return ServerState(Settings(stores=Stores(state_dir=tmp_path), learning=learning))


def publish(state: ServerState, space: str, best: str = "a") -> str:
    vectors = np.array([[0, 0], [0, 0], [1, 0], [0, 1]], np.float32)
    draft = Draft(
        name=MODEL, graphs={}, step=1, tables={VECTORS: vectors}, item_ids=[None, None, best, "b"],
        meta={"space": space},
    )  # fmt: skip
    return state.registry.publish(draft).version


def test_the_foundation_model_finds_a_users_items_once_it_is_published(state: ServerState, tmp_path: Path) -> None:
    users = UserVectors.open(tmp_path / "feast")
    assert known_of(state, users, "ada") == []
    publish(state, "s1")
    state.load()
    assert known_of(state, users, "ada") == [], "nobody has a vector yet"
    users.push(["ada"], np.array([[0.1, 2.0]], np.float32), space="s1", version="v", time_ms=1)
    assert known_of(state, users, "ada") == ["b", "a"]
    publish(state, "s2")
    state.follow_foundation()
    assert known_of(state, users, "ada") == [], "a vector of another space finds nothing"
    users.close()


def test_a_damaged_version_leaves_the_one_before(state: ServerState, caplog: pytest.LogCaptureFixture) -> None:
    first = publish(state, "s1")
    state.follow_foundation()
    second = publish(state, "s1", best="c")
    (state.registry.folder(MODEL, second) / "tables.safetensors").write_bytes(b"")
    state.follow_foundation()
    assert state.foundation.version == first and "damaged" in caplog.text
