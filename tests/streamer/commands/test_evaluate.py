from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import SettingsError

RUNNER = CliRunner()


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "clicks.csv"
    rows = ["uid,sku,event_time_seconds"]
    for event, (user, item) in enumerate(zip(rng.integers(0, 12, 300), rng.integers(0, 25, 300), strict=True)):
        rows.append(f"u{user},i{item},{1_600_000_000 + 700 * event}")
    path.write_text("\n".join(rows) + "\n")
    return path


def run(*words: str) -> object:
    return RUNNER.invoke(app, ["evaluate", *words], catch_exceptions=False)


def test_a_file_of_events_to_tables_json_and_report(clicks: Path, tmp_path: Path) -> None:
    columns = ["--map", "user_id=uid", "--map", "item_id=sku", "--set", "action=click"]
    result = run(
        *("--dataset", str(clicks), "--protocol", "prequential", "--model", "popular,popular-7d", "--repeats"),
        *("--json", str(tmp_path / "figures.json"), "--report", str(tmp_path / "report.html"), *columns),
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["protocol"] == "prequential"
    assert figures["models"]["popular"]["tests"] == 240
    assert figures["digest"] in result.output
    assert "popular-7d" in result.output and "HR@10" in result.output
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_words_that_are_not_known_are_named(clicks: Path) -> None:
    for words, message in (
        (["--protocol", "loo"], "choose one of leave-one-out"),
        (["--on", "train"], "choose one of test, validation"),
        (["--seeds", "one"], "give whole numbers"),
        (["--refit", "daily"], "choose one of online, static, every-10"),
    ):
        with pytest.raises(SettingsError, match=message):
            run("--dataset", str(clicks), *words)


def test_models_are_listed() -> None:
    result = run("--list")
    assert result.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in result.output.splitlines())  # every name with what it is
    assert {"popular", "popular-7d", "popular-decayed", "whole"} <= told.keys()
    assert all(text[0].isupper() and text.endswith(".") for text in told.values())


def test_teachers_are_compared_from_the_command_line(clicks: Path, tmp_path: Path) -> None:
    columns = ["--map", "user_id=uid", "--map", "item_id=sku", "--set", "action=click"]
    result = run(
        *("--dataset", str(clicks), "--teachers", "1x,2x", "--distill", "direct", "--repeats"),
        *("--json", str(tmp_path / "teachers.json"), *columns),
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "teachers.json").read_text())
    assert list(figures["models"]) == ["student alone", "teacher 1x", "teacher 2x"]
    assert figures["method"] == "direct" and "hr@10" in figures["models"]["teacher 2x"]["gain"]
    assert "student alone" in result.output and "2x" in result.output
