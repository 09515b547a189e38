"""The whole loop as `make demo` runs it: every process, an embedded broker, a simulated world."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamer.broker import embedded_broker
from streamer.errors import BrokerError

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EVENTS = 1_500
KEYS = {
    "events_published": int,
    "events_consumed": int,
    "events_learned": int,
    "duplicates": int,
    "late": int,
    "dead_letter": int,
    "published_models": int,
    "parity_max_abs": float,
}
GROUPS = {
    "prequential": {"hr@10", "ndcg@10", "popular_7d_hr@10", "item_knn_hr@10", "river_hr@10"},
    "freshness_ms": {"session_p50", "session_p95", "weights_p50", "weights_p95"},
    "serving_ms": {"p50", "p99", "requests"},
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What `headwater demo` wrote to its file, and what it said."""
    try:
        with embedded_broker():
            pass
    except BrokerError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "streamer", "demo", "--once", "--dataset", "simulator", "--events", str(EVENTS)]
    command += ["--port", "0", "--json", str(folder / "demo.json"), "--state", str(folder / "state")]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=540, check=False)
    assert ended.returncode == 0, ended.stdout[-2_000:] + ended.stderr[-2_000:] + logs(folder)
    return json.loads((folder / "demo.json").read_text()), ended.stdout


def logs(folder: Path) -> str:
    return "".join(f"\n== {path.name}\n{path.read_text()[-2_000:]}" for path in sorted(folder.rglob("*.log")))


def test_the_file_has_every_figure(demo: tuple[dict[str, Any], str]) -> None:
    report, _ = demo
    assert {name: type(report[name]) for name in KEYS} == KEYS
    for group, names in GROUPS.items():
        assert names <= set(report[group])
        assert all(isinstance(report[group][name], int | float) for name in names), report[group]


def test_every_event_is_accounted_for(demo: tuple[dict[str, Any], str]) -> None:
    report, _ = demo
    assert report["events_published"] == EVENTS
    assert report["events_consumed"] == report["events_published"] - report["dead_letter"]
    assert report["dead_letter"] == report["duplicates"] == 0
    assert 0 < report["events_learned"] <= EVENTS


def test_what_is_served_is_what_was_learnt(demo: tuple[dict[str, Any], str]) -> None:
    report, _ = demo
    assert 0 < report["parity_max_abs"] < 1e-3, "0 would mean that nothing was compared"
    assert report["published_models"] >= 1
    assert report["prequential"]["previous_event_not_visible"] == 0


def test_the_lists_were_judged_on_a_tenth_of_the_events(demo: tuple[dict[str, Any], str]) -> None:
    report, _ = demo
    prequential = report["prequential"]
    assert 0 < prequential["asked"] == report["serving_ms"]["requests"] <= 0.1 * 0.8 * EVENTS
    assert all(0 <= prequential[name] <= 1 for name in GROUPS["prequential"])
    assert 0 < prequential["most_events_ahead_of_learner"] <= 256 + 64, "the lead, and a batch learnt between two looks"
    assert prequential["hr@10"] > 0, "not one list of ten held what came next"


def test_every_example_has_one_soft_label_and_the_student_learns_it(demo: tuple[dict[str, Any], str]) -> None:
    report, said = demo
    soft = report["soft_labels"]
    assert soft["written"] == report["events_learned"], "the trainer and the teacher read the same examples"
    assert soft["coverage"] >= 0.95 and soft["age_p95_s"] > 0
    assert soft["student_hr@10"] is not None and soft["hard_only_hr@10"] is not None, "the twin runs with --once"
    assert "its twin without soft labels" in " ".join(said.split())


def test_the_foundation_model_waits_for_more_events(demo: tuple[dict[str, Any], str]) -> None:
    found = demo[0]["foundation"]
    assert found["versions"] == found["users"] == found["items"] == 0, "so few events are no history"
    assert found["recall@10"] is None


def test_it_says_that_it_is_simulated(demo: tuple[dict[str, Any], str]) -> None:
    report, said = demo
    assert report["source"] == {"name": report["source"]["name"], "simulated": True, "events": EVENTS}
    assert "simulat" in said.lower() and f"{EVENTS} events published" in " ".join(said.split())
