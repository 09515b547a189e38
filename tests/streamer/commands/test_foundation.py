from __future__ import annotations

import json
from pathlib import Path

import pytest
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
