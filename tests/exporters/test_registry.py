from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from exporters import files
from exporters.errors import RegistryError
from exporters.manifest import Trial
from exporters.registry import Draft, GraphFile, Registry


def draft(step: int, name: str = "student") -> Draft:
    graph = GraphFile(content=b"graph %d" % step, architecture="a", inputs=("x",), outputs=("y",))
    return Draft(
        name=name, graphs={"rank": graph}, step=step, tables={"item_vectors": np.full((3, 2), step, np.float32)},
        item_ids=[None, None, "x"], metrics={"hr@10": 0.25}, offsets={"headwater.examples": {"0": step}},
    )  # fmt: skip


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(tmp_path, keep=3)


def test_a_version_comes_back_as_it_was_published(registry):
    written = registry.publish(draft(7))
    read = registry.verify("student", written.version)
    assert read == written and read.number == 1 and read.step == 7 and read.offsets == {"headwater.examples": {"0": 7}}
    tables = registry.tables("student", written.version)
    assert tables.item_ids == [None, None, "x"] and tables.arrays["item_vectors"].tolist() == [[7, 7]] * 3
    assert set(read.files) == {"rank.onnx", "tables.safetensors"}
    assert registry.current("student").version == written.version


def test_tables_of_any_size_are_read_in_parts(registry, monkeypatch):
    monkeypatch.setattr("exporters.version_tables._BYTES_AT_ONCE", 64)
    random = np.random.default_rng(0)
    tables = {
        "item_vectors": random.normal(size=(101, 3)).astype(np.float32),
        "item_knn.items": random.integers(0, 9, (101, 40)).astype(np.int32),  # a row is more than is read at once
        "empty.items": np.zeros((0, 4), np.int32),
    }
    ids = [None, None, *(f"item {number}" for number in range(99))]
    graphs = draft(1).graphs
    version = registry.publish(Draft(name="student", graphs=graphs, step=1, tables=tables, item_ids=ids)).version
    found = registry.tables("student", version)
    assert found.item_ids == ids and found.arrays.keys() == tables.keys()
    for name, array in tables.items():
        assert found.arrays[name].dtype == array.dtype and found.arrays[name].tolist() == array.tolist()


def test_numbers_only_grow_and_the_name_carries_the_content(registry):
    versions = [registry.publish(draft(step)).version for step in range(3)]
    assert [int(version.split("-")[0]) for version in versions] == [1, 2, 3]
    assert len({version.split("-")[1] for version in versions}) == 3


def test_old_versions_retire_but_never_the_one_that_serves(registry):
    first = registry.publish(draft(1)).version
    registry.publish(draft(2))
    registry.rollback("student", first, "drift")
    later = [registry.publish(draft(step)).version for step in range(3, 9)]
    assert registry.versions("student") == [first, *later[-3:]]
    assert registry.current("student").pinned and registry.current("student").reason == "drift"
    assert registry.release("student").version == later[-1]
    registry.publish(draft(9))
    assert first not in registry.versions("student")


@pytest.mark.parametrize("file", ["rank.onnx", "tables.safetensors"])
def test_a_damaged_file_is_named(registry, file):
    version = registry.publish(draft(1)).version
    path = registry.folder("student", version) / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(RegistryError, match=rf"{file} is damaged"):
        registry.verify("student", version)
    path.unlink()
    with pytest.raises(RegistryError, match=rf"{file} is missing"):
        registry.tables("student", version)


def test_a_damaged_manifest_is_named(registry):
    version = registry.publish(draft(1)).version
    (registry.folder("student", version) / "manifest.json").write_text('{"name": ')
    with pytest.raises(RegistryError, match=r"manifest\.json is damaged"):
        registry.verify("student", version)


def test_rollback_steps_over_damaged_versions(registry):
    first, second, third = (registry.publish(draft(step)).version for step in (1, 2, 3))
    (registry.folder("student", second) / "rank.onnx").write_bytes(b"")
    assert registry.rollback("student").version == first
    with pytest.raises(RegistryError, match="no whole version"):
        registry.rollback("student")
    assert registry.current("student").version == first
    with pytest.raises(RegistryError, match=r"rank\.onnx is damaged"):
        registry.rollback("student", second)
    assert registry.rollback("student", third).version == third


def test_what_is_not_there_is_said(registry):
    assert registry.names() == [] and registry.versions("student") == [] and registry.current("student") is None
    with pytest.raises(RegistryError, match="nothing is published under 'student'"):
        registry.rollback("student")
    registry.publish(draft(1))
    with pytest.raises(RegistryError, match=r"has no version 000009-00000000; it has 000001-"):
        registry.verify("student", "000009-00000000")
    for bad in ("../etc", "", "a/b", ".hidden"):
        with pytest.raises(RegistryError, match="no model name"):
            registry.versions(bad)
    with pytest.raises(RegistryError, match="is no version"):
        registry.folder("student", "../student")
    with pytest.raises(RegistryError, match="keep is 1"):
        Registry(registry.directory, keep=1)


def test_a_crash_while_writing_leaves_no_version(registry, monkeypatch):
    registry.publish(draft(1))
    monkeypatch.setattr(files, "_sync_folder", lambda folder: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        registry.publish(draft(2))
    monkeypatch.undo()
    assert len(registry.versions("student")) == 1
    assert not list((registry.directory / "versions" / "student").glob(files.TEMPORARY + "*"))
    assert registry.verify("student", registry.current("student").version).step == 1


def test_publishers_at_once_get_numbers_of_their_own(tmp_path):
    registry = Registry(tmp_path, keep=50)
    threads = [
        threading.Thread(target=lambda n=n: [registry.publish(draft(n * 10 + i)) for i in range(5)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [int(version.split("-")[0]) for version in registry.versions("student")] == list(range(1, 21))


def test_a_pin_holds_against_a_publisher(registry):
    first, second = (registry.publish(draft(step)).version for step in (1, 2))
    registry.rollback("student")
    registry.publish(draft(3))
    assert registry.current("student").version == first != second
    pointer = json.loads((registry.directory / "versions" / "student" / "current.json").read_text())
    assert pointer["pinned"] is True


def test_a_hold_lies_in_the_registry_until_it_is_lifted(registry, tmp_path):
    assert registry.held("student") is None and not registry.lift("student")
    registry.hold("student", "drift")
    held = Registry(tmp_path).held("student")
    assert held.reason == "drift" and held.time_ms > 0
    (tmp_path / "versions" / "student" / "hold.json").write_text("{")
    assert "damaged" in registry.held("student").reason, "what cannot be read holds"
    assert registry.lift("student") and registry.held("student") is None


def test_epochs_grow_whatever_the_clock_says_and_wherever_the_folder_went(registry, tmp_path, monkeypatch):
    first = registry.next_epoch("student")
    monkeypatch.setattr("exporters.registry.time.time", lambda: 0.0)  # the clock has gone back by decades
    assert registry.next_epoch("student") == first + 1
    monkeypatch.undo()
    assert Registry(tmp_path / "lost").next_epoch("student") >= first


def test_a_trial_keeps_both_of_its_versions(registry):
    first, second = (registry.publish(draft(step)).version for step in (1, 2))
    registry.note_trial("student", Trial(version=second, stable=first, share=0.1))
    for step in range(3, 9):
        registry.publish(draft(step))
    assert registry.versions("student")[:2] == [first, second] and registry.trial("student").stable == first
    registry.note_trial("student", None)
    registry.publish(draft(9))
    assert registry.trial("student") is None and len(registry.versions("student")) == 3


def test_the_newest_whole_version_is_found_whatever_serves(registry):
    assert registry.newest("student") is None
    first, second, third = (registry.publish(draft(step)).version for step in (1, 2, 3))
    registry.rollback("student", first)
    (registry.folder("student", third) / "rank.onnx").write_bytes(b"")
    found, tables = registry.newest("student")
    assert found.version == second and tables.arrays["item_vectors"][0, 0] == 2
