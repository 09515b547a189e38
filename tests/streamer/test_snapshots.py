from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch

from online_models import state_tree
from online_models.checks import check_resume_is_exact, learners
from streamer import snapshots
from streamer.errors import SnapshotError
from streamer.snapshots import DamagedSnapshotError, SnapshotStore, load, save


def everything() -> dict[str, Any]:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": base.clone()}, 1: {}},
        "betas": (0.9, 0.999),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "transposed": base.t(),
        "slice": base[:, 1],
        "same memory": base,
        "bool": torch.tensor([True, False]),
        "bfloat16": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        "array": np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::2],
        "array0": np.array(2.5),
        "uint32": np.array([2**32 - 1], np.uint32),
        "numpy scalar": np.float32(0.1),
        "floats": [0.1, 1e-300, float("inf"), -0.0],
        "large": 2**130,
        "text": "ä ∞ \u0000 \U0001f600",
        "raw": b"\x00\xff",
        "nothing": None,
        "keys": {None: 1, True: 2, 1.5: 3, "1": 4, 7: 5},
        "nested": [[], {}, (), [{"tensor": "not a tag"}]],
    }


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path / "one.safetensors", everything(), {"offsets": {"0": 12}})
    state, meta = load(tmp_path / "one.safetensors")
    assert state_tree.equal(state, everything())
    assert meta == {"offsets": {"0": 12}}
    assert list(state["keys"]) == [None, True, 1.5, "1", 7]
    assert [type(key) for key in state["keys"]] == [type(None), bool, float, str, int]
    assert isinstance(state["numpy scalar"], np.float32) and state["array0"].shape == ()


def test_what_is_read_can_be_written_to(tmp_path: Path) -> None:
    save(tmp_path / "one.safetensors", {"t": torch.zeros(3), "a": np.zeros(3)})
    state, _ = load(tmp_path / "one.safetensors")
    state["t"][0] = 1
    state["a"][0] = 1
    assert load(tmp_path / "one.safetensors")[0]["t"].tolist() == [0, 0, 0]


def test_the_file_is_plain_safetensors_with_readable_meta(tmp_path: Path) -> None:
    save(tmp_path / "one.safetensors", {"w": torch.ones(2)}, {"step": 5})
    with safetensors.safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert json.loads(file.metadata()["meta"]) == {"step": 5}


@pytest.mark.parametrize("name", ["Adam", "SGD", "Adagrad", "RMSprop"])
def test_optimiser_states_resume_exactly(tmp_path: Path, name: str) -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(1)
        layer = torch.nn.Linear(3, 2)
        return layer, getattr(torch.optim, name)(layer.parameters(), lr=0.1)

    def step(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    layer, optimizer = make()
    step(layer, optimizer)
    save(tmp_path / "one.safetensors", {"layer": dict(layer.state_dict()), "optimizer": optimizer.state_dict()})
    state, _ = load(tmp_path / "one.safetensors")
    again, optimizer_again = make()
    again.load_state_dict(state["layer"])
    optimizer_again.load_state_dict(state["optimizer"])
    step(layer, optimizer)
    step(again, optimizer_again)
    assert state_tree.equal(dict(layer.state_dict()), dict(again.state_dict()))


@pytest.mark.parametrize("name", sorted(learners()))
def test_every_learner_resumes_through_the_file(tmp_path: Path, name: str) -> None:
    def through_file(state: Any) -> Any:
        save(tmp_path / "one.safetensors", state)
        return load(tmp_path / "one.safetensors")[0]

    check_resume_is_exact(learners()[name][0], through_file)


@pytest.mark.parametrize("place", [0, 9, 200, -1, -200])
def test_any_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "one.safetensors"
    save(path, {"w": torch.arange(1000)}, {"step": 5})
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SnapshotError):
        load(path)


@pytest.mark.parametrize("kept", [0, 7, 100, 5000])
def test_a_file_cut_short_is_found(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "one.safetensors"
    save(path, {"w": torch.arange(1000)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedSnapshotError, match="damaged"):
        load(path)


def test_missing_files_and_other_versions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SnapshotError, match="there is no snapshot at"):
        load(tmp_path / "none.safetensors")
    monkeypatch.setattr(snapshots, "FORMAT_VERSION", "0")
    store = SnapshotStore(tmp_path)
    path = store.save({}, {})
    monkeypatch.undo()
    with pytest.raises(SnapshotError, match="format version '0'; this program reads '1'"):
        store.latest()
    assert path.exists(), "a file of another version is not damaged and must stay where it is"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model": {"hook": print}}, r"state\['model'\]\['hook'\] is a <class 'builtin_function_or_method'>"),
        ({"names": np.array(["a"])}, r"state\['names'\] is a <class 'numpy.ndarray'> of <U1"),
        ([{(1, 2): 3}], r"state\[0\] has the key \(1, 2\)"),
        ({"s": torch.eye(2).to_sparse()}, "only dense ones are kept"),
    ],
)
def test_what_is_not_data_is_refused(tmp_path: Path, state: Any, message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        save(tmp_path / "one.safetensors", state)
    assert list(tmp_path.iterdir()) == []


def test_meta_must_be_json_and_the_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="meta must be JSON"):
        save(tmp_path / "one.safetensors", {}, {"w": torch.ones(1)})
    with pytest.raises(SnapshotError, match="cannot be written"):
        save(tmp_path / "nowhere" / "one.safetensors", {})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.safetensors"
    save(path, {"steps": 1})

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotError, match="No space left on device"):
        save(path, {"steps": 2})
    assert load(path)[0] == {"steps": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_store_keeps_the_last_ones(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "learner", keep=2)
    assert store.latest() is None
    for step in range(12):
        store.save({"step": step}, {"step": step})
    assert [load(path)[0]["step"] for path in store.paths()] == [10, 11]
    latest = SnapshotStore(tmp_path / "learner").latest()
    assert latest is not None and latest.state == latest.meta == {"step": 11}


def test_a_damaged_newest_falls_back_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SnapshotStore(tmp_path, keep=3)
    for step in range(3):
        store.save({"step": step}, {})
    newest = store.paths()[-1]
    newest.write_bytes(newest.read_bytes()[:50])
    latest = store.latest()
    assert latest is not None and latest.state == {"step": 1}
    assert "is damaged" in caplog.text and "trying the snapshot before it" in caplog.text
    assert newest.with_suffix(".damaged").exists(), "the damaged file is kept for inspection"
    store.save({"step": 3}, {})
    again = store.latest()
    assert again is not None and again.state == {"step": 3}
    for step in range(4, 8):
        store.save({"step": step}, {})
    assert not newest.with_suffix(".damaged").exists(), "damaged files do not pile up"


def test_all_damaged_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.save({}, {}).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(SnapshotError, match="every snapshot in .* is damaged"):
            store.latest()


def test_keep_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="keep is 0; keep at least 1"):
        SnapshotStore(tmp_path, keep=0)


WRITER = """
import sys, torch
from streamer.snapshots import SnapshotStore
store = SnapshotStore(sys.argv[1], keep=2)
step = 0
while True:
    step += 1
    store.save({"step": step, "w": torch.full((500_000,), float(step))}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_sigkill_at_any_moment_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    for attempt in range(2):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(3):
            announced = int(writer.stdout.readline())
        time.sleep(0.003 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        latest = SnapshotStore(tmp_path, keep=2).latest()
        assert latest is not None and latest.state["step"] >= announced
        assert torch.equal(latest.state["w"], torch.full((500_000,), float(latest.state["step"])))
        assert not list(tmp_path.glob(".*.partial")) and not list(tmp_path.glob("*.damaged"))
