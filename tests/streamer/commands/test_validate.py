from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.events import encode
from streamer.sources.simulator import SimulatorSource


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def test_a_good_file_ends_with_status_0_and_one_page() -> None:
    source = SimulatorSource(limit=2_000)
    Path("items.jsonl").write_bytes(b"\n".join(encode(event) for event in source.items()))
    Path("events.jsonl").write_bytes(b"\n".join(encode(event) for event in source.events()))
    result = CliRunner().invoke(app, ["validate", "items.jsonl", "events.jsonl", "--json", "out/found.json"])
    assert result.exit_code == 0, result.output
    assert "clicks by position" in result.output and result.output.rstrip().endswith("good")
    found = json.loads(Path("out/found.json").read_text())
    assert found["is_good"] and found["types"]["impression"] + found["types"]["interaction"] == 2_000
    assert found["joined_interactions"] == found["types"]["interaction"]


def test_a_bad_line_ends_with_status_1_and_its_place() -> None:
    Path("events.jsonl").write_text('{"event_id":"a","type":"item","item_id":"i","event_time_ms":1718000000000}\n[1]\n')
    result = CliRunner().invoke(app, ["validate", "events.jsonl", "--json", "found.json"])
    assert result.exit_code == 1
    assert "events.jsonl:2" in result.output and "wrong_type" in result.output
    assert json.loads(Path("found.json").read_text())["rejected"]["wrong_type"]["count"] == 1


def test_an_empty_file_is_looked_at_too() -> None:
    Path("events.jsonl").write_text("")
    result = CliRunner().invoke(app, ["validate", "events.jsonl"])
    assert result.exit_code == 0 and "sessions" in result.output


def test_square_brackets_of_the_data_are_not_taken_for_markup() -> None:
    Path("events.csv").write_text(
        "user_id,item_id,action,event_time_ms,surface\nu,i,view,1718000000000,[/red]\nu,[/i],view,7,x\n"
    )
    result = CliRunner().invoke(app, ["validate", "events.csv"])
    assert result.exit_code == 1 and "[/red]" in result.output
