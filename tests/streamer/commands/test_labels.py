from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.label_writer import LabelWriter
from streamer.soft_labels import encode


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder, and a broker that nobody answers for."""
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return tmp_path


def test_stats_count_without_a_broker(state_dir: Path, example, soft_label) -> None:
    writer, now_ms = LabelWriter(state_dir / "labels"), time.time_ns() // 1_000_000
    for offset in range(30):
        age_ms = 10_000 if offset < 20 else 7_200_000
        label = soft_label(example(offset), {"a": 1.0}, labelled_ms=now_ms - age_ms, version=f"teacher-{offset % 2}")
        writer.add(0, offset, encode(label))
    writer.flush()
    report = state_dir / "stats.json"
    result = CliRunner().invoke(app, ["labels", "--stats", "--json", str(report)], catch_exceptions=False)
    found = json.loads(report.read_text())
    assert result.exit_code == 0 and (found["rows"], found["recent"]) == (30, 20)
    assert found["versions"] == {"teacher-0": 15, "teacher-1": 15} and found["bytes_per_label"] > 0
    assert found["coverage_of_last_hour"] is None and "no broker answers" in result.output


def test_stats_of_an_empty_store(state_dir: Path) -> None:
    result = CliRunner().invoke(app, ["labels", "--stats"], catch_exceptions=False)
    assert result.exit_code == 0 and "none" in result.output
    assert not (state_dir / "labels").exists(), "looking changes nothing"
