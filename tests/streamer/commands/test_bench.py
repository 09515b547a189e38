from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app


def test_learn_writes_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    small = ["--limit", "900", "--dimension", "8", "--layers", "1", "--history", "6", "--threads", "1"]
    result = CliRunner().invoke(app, ["bench", "learn", "--dataset", "simulator", *small, "--json", "out/speed.json"])
    assert result.exit_code == 0, result.output
    written = json.loads(Path("out/speed.json").read_text())
    assert written["dataset"] == "simulator" and written["history"] == 6 and written["threads"] == 1
    assert set(written["forms"]) == {"whole histories", "event by event"}
    for form in written["forms"].values():
        assert form["events"] > 0 and form["learnt_per_second"] > form["tested_and_learnt_per_second"] > 0
        assert f"{form['events']:,}" in result.output


def test_one_form_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--dataset", "simulator", "--limit", "300", "--dimension", "8", "--threads", "1", "--no-plain"]
    result = CliRunner().invoke(app, ["bench", "learn", *given, "--json", "speed.json"])
    assert result.exit_code == 0, result.output
    assert list(json.loads(Path("speed.json").read_text())["forms"]) == ["whole histories"]


def test_an_unknown_data_set_ends_with_its_message() -> None:
    result = CliRunner().invoke(app, ["bench", "learn", "--dataset", "no-such-set"])
    assert result.exit_code != 0 and "no-such-set" in str(result.exception)


@pytest.mark.parametrize("name", ["serve", "freshness", "ingest", "recovery", "rollback"])
def test_measurements_say_what_they_measure(name: str) -> None:
    result = CliRunner().invoke(app, ["bench", name, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "--json" in result.output and "--broker" in result.output


@pytest.mark.parametrize("given", [["--rates", "fast"], ["--rates", "50,0"], ["--arrivals", "bursts"]])
def test_loads_that_cannot_be_made_are_turned_away(given: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "serve", *given])
    assert result.exit_code == 2 and given[1] in result.output
