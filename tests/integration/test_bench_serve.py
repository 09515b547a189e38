"""`headwater bench serve` end to end, on a small catalogue: a real server under open-loop load, and its floors."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamer.bench.made_up_users import Mix
from streamer.bench.serve import ServeOptions, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_server_under_load_is_measured_with_its_floors(broker: str) -> None:
    options = ServeOptions(
        items=1_200, users=40, rates=(10, 20), seconds=2, stop_above_ms=60_000, mix=Mix(events=0.3), broker=broker,
        floor_seconds=1,
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=240)
    report = run(options, console)
    assert [found["rate"] for found in report["serve"]] == [10, 20]
    for found in report["serve"]:
        assert found["sent"] > 0 and found["errors"] == {}
        assert found["p50_ms"] <= found["p99_ms"] <= found["max_ms"] and found["server_cpu_ms"] > 0
        assert found["sessions_changed"] > 0 and found["resident_mb"] > 50
    listed = [found for found in report["serve"] if found["stages"]]
    assert listed and all({"session", "candidates", "rank"} <= set(found["stages"]) for found in listed)
    assert all(found["candidates"] > 100 for found in listed)
    assert {"onnx_rank", "onnx_encode", "store_read", "numpy_brute_force", "http"} <= set(report["floors"])
    assert len(report["floors"]["http"]) == 2 and report["world"]["items"] == 1_200
    assert "onnx_rank" in console.file.getvalue()
