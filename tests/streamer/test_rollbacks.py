from __future__ import annotations

from pathlib import Path

import pytest

from exporters.announcements import Announcement
from exporters.registry import Draft, GraphFile, Registry
from streamer import rollbacks
from streamer.errors import HeadwaterError
from streamer.settings import Settings, Stores


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Announcement]:
    """What would have gone to the broker."""
    sent: list[Announcement] = []
    monkeypatch.setattr(rollbacks, "announce", lambda announcement, servers: sent.append(announcement))
    return sent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(stores=Stores(state_dir=tmp_path))


def versions(settings: Settings, number: int) -> list[str]:
    registry = Registry(settings.stores.models_dir)
    file = GraphFile(content=b"graph", architecture="a", inputs=("x",), outputs=("y",))
    drafts = [Draft(name="student", graphs={"rank": file}, step=step) for step in range(number)]
    return [registry.publish(draft).version for draft in drafts]


def test_back_and_forth(settings: Settings, told: list[Announcement]) -> None:
    first, second, third = versions(settings, 3)
    registry = Registry(settings.stores.models_dir)
    assert rollbacks.roll_back(settings, "student", reason="drift").version == second
    assert rollbacks.roll_back(settings, "student", first, "worse").version == first
    assert registry.current("student").pinned and registry.current("student").reason == "worse"
    assert rollbacks.release(settings, "student").version == third
    assert [(one.kind, one.version) for one in told] == [
        ("rolled_back", second), ("rolled_back", first), ("released", third),
    ]  # fmt: skip


def test_a_version_that_is_not_there_changes_nothing(settings: Settings, told: list[Announcement]) -> None:
    (first,) = versions(settings, 1)
    for version in (None, "000009-00000000"):
        with pytest.raises(HeadwaterError):
            rollbacks.roll_back(settings, "student", version)
    assert told == [] and Registry(settings.stores.models_dir).current("student").version == first


def test_a_hold_and_its_end(settings: Settings, told: list[Announcement]) -> None:
    registry = Registry(settings.stores.models_dir)
    rollbacks.hold(settings, "student", "drift")
    assert registry.held("student").reason == "drift" and told[-1].kind == "held"
    assert told[-1].key != b"student", "it hides no version from a server that starts"
    assert rollbacks.lift(settings, "student") and not rollbacks.lift(settings, "student")
    rollbacks.hold(settings, "student")
    rollbacks.release(settings, "student")  # before the first version there is nothing else to release
    assert registry.held("student") is None
    with pytest.raises(HeadwaterError):
        rollbacks.release(settings, "student")
