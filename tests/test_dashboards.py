"""Every metric that the dashboards and the alerts name is one that a process has; every alert has its runbook."""

from __future__ import annotations

import json
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

import exporters
import streamer

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
NAME = re.compile(r"\bheadwater_[a-z0-9_]+")
WITHOUT_PANEL = {
    "headwater_serving_model_info": "a new series for every version, seconds apart; GET /models shows what serves",
    "headwater_trainer_info": "constant; joined to other series, see docs/operations.md, two students side by side",
}


def series(metric: MetricWrapperBase) -> set[str]:
    """Names under which Prometheus stores one metric."""
    name = next(iter(metric.describe())).name
    if isinstance(metric, Counter):
        return {f"{name}_total"}
    if isinstance(metric, Histogram):
        return {f"{name}_{suffix}" for suffix in ("bucket", "sum", "count")}
    return {name}


def exported() -> list[MetricWrapperBase]:
    """Every metric of our processes."""
    modules = [
        import_module(found.name)
        for package in (streamer, exporters)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if found.name.split(".")[-1] == "metrics"
    ]
    return [metric for module in modules for metric in vars(module).values() if isinstance(metric, MetricWrapperBase)]


def known() -> dict[str, tuple[str, ...]]:
    """Every series of our processes with its label names."""
    return {name: tuple(metric._labelnames) for metric in exported() for name in series(metric)}


def series_by_metric() -> list[set[str]]:
    """Name the series of each metric together: a panel on one of them shows the metric."""
    return [series(metric) for metric in exported()]


def queries() -> list[tuple[str, str]]:
    """(where, PromQL) of every panel and of every alert."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found += [(f"{path.stem}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    for rule in alerts():
        found.append((f"alert {rule['alert']}", rule["expr"]))
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_there_is_a_dashboard_for_each_part() -> None:
    parts = {"stream", "learning", "freshness", "serving", "drift", "teacher"}
    assert {path.stem for path in DASHBOARDS} == {"headwater"} | {f"headwater-{part}" for part in parts}


def test_the_files_are_what_the_program_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    monkeypatch.syspath_prepend(ROOT)
    program = import_module("deploy.dashboards.__main__")
    assert program.differences() == [], "run python -m deploy.dashboards"


def test_a_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    monkeypatch.syspath_prepend(ROOT)
    program = import_module("deploy.dashboards.__main__")
    for name, text in program.files().items():
        (tmp_path / name).write_text(text)
    assert program.differences(tmp_path) == []
    (tmp_path / "headwater.json").write_text("{}")
    (tmp_path / "other.json").write_text("{}")
    assert program.differences(tmp_path) == ["headwater.json", "other.json"]


def test_the_command_checks() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    checked = [sys.executable, "-m", "deploy.dashboards", "--check"]
    ended = subprocess.run(checked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("where", "query"), queries(), ids=[where for where, _ in queries()])
def test_query_names_existing_metrics_and_labels(where: str, query: str) -> None:
    series_of = known()
    for name in NAME.findall(query):
        assert name in series_of, f"{where} asks for {name}, which no process has"
    for name, matchers in re.findall(r"(headwater_[a-z0-9_]+)\{([^}]*)\}", query):
        for label in re.findall(r"(\w+)\s*[=!]", matchers):
            assert label in {*series_of[name], "job", "instance", "le"}, f"{where}: {name} has no label {label}"


def test_every_metric_has_a_panel_or_a_reason_for_none() -> None:
    named = {name for where, query in queries() if not where.startswith("alert ") for name in NAME.findall(query)}
    without = {names for names in map(frozenset, series_by_metric()) if not names & named}
    assert {name for names in without for name in names} == set(WITHOUT_PANEL)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_says_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"] and rule["annotations"]["action"]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_links_to_its_runbook(rule: dict[str, Any]) -> None:
    path, anchor = rule["annotations"]["runbook_url"].split("#")
    assert anchor == rule["alert"].lower()
    sections = re.split(r"^### ", (ROOT / path).read_text(), flags=re.MULTILINE)
    runbook = next(text for text in sections if text.split("\n", 1)[0].lower() == anchor)
    for part in ("**Cause**", "**Look**", "**Mend**"):
        assert part in runbook, f"{rule['alert']}: {path} does not say {part}"


def test_panels_name_only_alerts_that_exist() -> None:
    names = {rule["alert"] for rule in alerts()}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for found in re.findall(r"Alerts?: ([\w, ]+)\.", panel.get("description") or ""):
                assert set(found.split(", ")) <= names, f"{path.stem}: {panel['title']}"


def test_rules_go_off_for_their_cause_and_for_nothing_else() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: the Debian package prometheus has it")
    tested = ["promtool", "test", "rules", "alerts.test.yml"]
    ended = subprocess.run(tested, cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promised_alerts_are_there() -> None:
    text = " ".join(rule["expr"] for rule in alerts())
    for metric in (
        "headwater_consumer_lag_messages",
        "headwater_session_visible_seconds_bucket",
        "headwater_weights_freshness_seconds_bucket",
        "headwater_parity_max_abs_logits",
        "headwater_prequential_ratio",
        "headwater_dead_letters_total",
    ):
        assert metric in text


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
