"""Every metric that the dashboard and the alerts name is one that a process has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

import exporters.metrics
import streamer.metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
NAME = re.compile(r"\bheadwater_[a-z0-9_]+")


def series(metric: MetricWrapperBase) -> set[str]:
    """Names under which Prometheus stores one metric."""
    name = next(iter(metric.describe())).name
    if isinstance(metric, Counter):
        return {f"{name}_total"}
    if isinstance(metric, Histogram):
        return {f"{name}_{suffix}" for suffix in ("bucket", "sum", "count")}
    return {name}


def known() -> dict[str, tuple[str, ...]]:
    """Every series of our processes with its label names."""
    metrics = [
        metric
        for module in (streamer.metrics, exporters.metrics)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
    ]
    return {name: tuple(metric._labelnames) for metric in metrics for name in series(metric)}


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


def test_there_is_a_dashboard() -> None:
    assert DASHBOARDS


@pytest.mark.parametrize(("where", "query"), queries(), ids=[where for where, _ in queries()])
def test_query_names_existing_metrics_and_labels(where: str, query: str) -> None:
    series_of = known()
    for name in NAME.findall(query):
        assert name in series_of, f"{where} asks for {name}, which no process has"
    for name, matchers in re.findall(r"(headwater_[a-z0-9_]+)\{([^}]*)\}", query):
        for label in re.findall(r"(\w+)\s*[=!]", matchers):
            assert label in {*series_of[name], "job", "instance", "le"}, f"{where}: {name} has no label {label}"


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_says_how_bad_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"] and rule["annotations"]["action"]


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
