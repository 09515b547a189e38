from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.announcements import Announcement
from exporters.foundation import MODEL, VECTORS, FoundationIndex
from exporters.registry import Registry
from feature_store.user_vectors import UserVectors
from streamer.errors import BrokerError, HeadwaterError
from streamer.foundation_space import SpacePublisher, Vectors

ITEMS, D = 60, 8


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def users(tmp_path: Path) -> Iterator[UserVectors]:
    opened = UserVectors.open(tmp_path / "feast")
    yield opened
    opened.close()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def refresh(items: torch.Tensor, user: torch.Tensor, ids: list[str] | None = None) -> Vectors:
    names = ids or [f"i{row}" for row in range(len(items))]
    return Vectors(
        items=torch.cat([torch.ones(2, items.shape[1]), items]),
        item_ids=[None, None, *names],
        sightings=torch.ones(len(items) + 2),
        users=iter([(["ada"], user)]),
        step=1,
        offsets={},
        metrics={"loss": 0.5},
    )


def found(registry: Registry, users: UserVectors) -> list[tuple[str, float]]:
    index, user = FoundationIndex(registry), users.read("ada")
    index.follow()
    assert user is not None
    return index.search(user.vector, user.space, 5)


def test_a_rotated_refresh_is_published_in_the_last_space(registry: Registry, users: UserVectors) -> None:
    items, user = normal(ITEMS, D), normal(1, D, seed=1)
    turn = torch.linalg.qr(normal(D, D, seed=2)).Q
    publisher = SpacePublisher(registry, users, most_residual=0.5)
    first, _, _ = publisher.publish(refresh(items, user))
    before, ada = found(registry, users), users.read("ada")
    second, space, count = publisher.publish(refresh(items @ turn, user @ turn))
    assert space.alignment.residual < 1e-4 and space.shared == ITEMS and count == 1
    assert first.meta["space"] == second.meta["space"] == space.name
    arrays = [registry.tables(MODEL, version.version).arrays[VECTORS] for version in (first, second)]
    assert np.allclose(*arrays, atol=1e-4)
    assert not arrays[1][:2].any(), "rows without an item say nothing"
    # the vector from before the refresh finds the same in the new index
    index = FoundationIndex(registry)
    index.follow()
    assert ada is not None
    assert [name for name, _ in index.search(ada.vector, ada.space, 5)] == [name for name, _ in before]
    assert [name for name, _ in found(registry, users)] == [name for name, _ in before]


def test_another_space_is_not_passed_off_as_the_last(registry: Registry, users: UserVectors) -> None:
    publisher = SpacePublisher(registry, users, most_residual=0.5)
    first, _, _ = publisher.publish(refresh(normal(ITEMS, D), normal(1, D)))
    old = users.read("ada")
    second, space, _ = publisher.publish(refresh(normal(ITEMS, D, seed=7), normal(1, D)))
    assert second.meta["space"] != first.meta["space"] and space.shared == 0
    index = FoundationIndex(registry)
    index.follow()
    assert old is not None and index.search(old.vector, old.space, 5) == []
    assert len(found(registry, users)) == 5


def test_few_shared_items_or_another_width_begin_a_new_space(registry: Registry, users: UserVectors) -> None:
    publisher = SpacePublisher(registry, users, most_residual=0.5)
    names = [publisher.publish(refresh(normal(ITEMS, D), normal(1, D)))[1].name]
    others = [f"other {row}" for row in range(ITEMS)]
    names.append(publisher.publish(refresh(normal(ITEMS, D), normal(1, D), others))[1].name)
    names.append(publisher.publish(refresh(normal(ITEMS, 4), normal(1, 4), others))[1].name)
    assert len(set(names)) == 3


def test_nothing_that_is_not_finite_is_published(registry: Registry, users: UserVectors) -> None:
    publisher = SpacePublisher(registry, users, most_residual=0.5)
    with pytest.raises(HeadwaterError, match="not finite"):
        publisher.publish(refresh(normal(ITEMS, D) * torch.nan, normal(1, D)))
    assert registry.current(MODEL) is None and users.read("ada") is None


def test_a_damaged_last_version_begins_a_new_space(registry: Registry, users: UserVectors) -> None:
    publisher = SpacePublisher(registry, users, most_residual=0.5)
    first, _, _ = publisher.publish(refresh(normal(ITEMS, D), normal(1, D)))
    (registry.folder(MODEL, first.version) / "tables.safetensors").write_bytes(b"")
    second, _, _ = publisher.publish(refresh(normal(ITEMS, D), normal(1, D)))
    assert second.meta["space"] != first.meta["space"]


def test_servers_are_told_and_a_silent_broker_stops_nothing(registry: Registry, users: UserVectors) -> None:
    told: list[Announcement] = []
    version, _, _ = SpacePublisher(registry, users, 0.5, told.append).publish(refresh(normal(ITEMS, D), normal(1, D)))
    assert [(one.name, one.version, one.kind) for one in told] == [(MODEL, version.version, "published")]

    def refuse(announcement: Announcement) -> None:
        raise BrokerError("nobody is there")

    SpacePublisher(registry, users, 0.5, refuse).publish(refresh(normal(ITEMS, D), normal(1, D)))
    assert len(registry.versions(MODEL)) == 2
