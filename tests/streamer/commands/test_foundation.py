from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from streamer.cli import app


def test_once_over_an_empty_log_reports_and_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADWATER_LEARNING__CATALOG_ROWS", "64")
    report = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["foundation", "--once", "--json", str(report)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads(report.read_text()) == {"events": 0.0, "users": 0.0}
    assert "events" in result.output


def test_it_takes_the_threads_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_STORES__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADWATER_LEARNING__CATALOG_ROWS", "64")
    monkeypatch.setenv("HEADWATER_FOUNDATION__THREADS", "2")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        CliRunner().invoke(app, ["foundation", "--once"], catch_exceptions=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
