from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.errors import RegistryError
from exporters.foundation import MODEL, VECTORS, FoundationIndex
from exporters.registry import Draft, Registry

ONE = np.array([1, 0], np.float32)


def publish(registry: Registry, best: str, space: str = "s1") -> str:
    vectors = np.array([[9, 9], [9, 9], [1, 0], [0.5, 0]], np.float32)
    ids = [None, None, best, "second"]
    draft = Draft(name=MODEL, graphs={}, step=1, tables={VECTORS: vectors}, item_ids=ids, meta={"space": space})
    return registry.publish(draft).version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_nothing_is_found_before_the_first_version(registry: Registry) -> None:
    index = FoundationIndex(registry)
    assert not index.follow() and len(index) == 0
    assert index.search(ONE, "", k=3) == []


def test_best_items_by_name_without_the_rows_that_hold_none(registry: Registry) -> None:
    version = publish(registry, "first")
    index = FoundationIndex(registry)
    assert index.follow() and index.version == version and len(index) == 2
    assert index.search(ONE, "s1", k=10) == [("first", 1.0), ("second", 0.5)]


def test_it_follows_the_registry_and_its_rollbacks(registry: Registry) -> None:
    publish(registry, "first")
    index = FoundationIndex(registry)
    index.follow()
    publish(registry, "other")
    assert index.follow() and not index.follow()
    assert index.search(ONE, "s1", k=1) == [("other", 1.0)]
    registry.rollback(MODEL)
    assert index.follow() and index.search(ONE, "s1", k=1) == [("first", 1.0)]


def test_two_spaces_never_mix(registry: Registry) -> None:
    publish(registry, "first", space="s2")
    index = FoundationIndex(registry)
    index.follow()
    assert index.search(ONE, "s1", k=1) == []
    assert index.search(np.ones(3, np.float32), "s2", k=1) == []


def test_a_damaged_version_changes_nothing(registry: Registry) -> None:
    publish(registry, "first")
    index = FoundationIndex(registry)
    index.follow()
    version = publish(registry, "other")
    (registry.folder(MODEL, version) / "tables.safetensors").write_bytes(b"")
    with pytest.raises(RegistryError, match="damaged"):
        index.follow()
    assert index.search(ONE, "s1", k=1) == [("first", 1.0)]
