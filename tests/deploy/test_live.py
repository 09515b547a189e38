"""The rows of the dashboards, and their pictures, at a real Prometheus that scrapes nothing but itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prometheus(start_prometheus: Callable[[dict[str, str]], str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    address = start_prometheus({"worker": "127.0.0.1:1", "prometheus": "127.0.0.1:1"})  # nobody listens there
    with httpx.Client(base_url=address, timeout=15) as client:
        yield client


def test_a_panel_without_data_is_a_row_that_fails(prometheus: httpx.Client) -> None:
    live = import_module("deploy.dashboards.live")
    rows = {row.where: row for row in live.panel_rows(prometheus)}
    assert len(rows) == len({(one.dashboard, one.panel, one.legend) for one in live.queries()})
    events = rows["Headwater / Events / events"]
    assert not events.alive and str(events).startswith("FAIL  Headwater / Events / events: no data for sum(rate(")
    rare = rows["Headwater: drift and actions / Alarms / {{model}} {{signal}}"]
    assert rare.alive and rare.said == "1 series, 0 to 0", "what has never happened is zero, not nothing"


def test_a_query_that_is_none_is_a_row_that_fails(prometheus: httpx.Client) -> None:
    live = import_module("deploy.dashboards.live")
    row = live._panel_row(prometheus, live.Query("d", "p", "l", "sum(rate("))
    assert not row.alive and "parse error" in row.said


def test_every_alert_is_evaluated(prometheus: httpx.Client) -> None:
    live = import_module("deploy.dashboards.live")
    until = time.monotonic() + 20
    while not all(row.alive for row in (live.alert_rows(prometheus) or [])) and time.monotonic() < until:
        time.sleep(0.2)
    rows = live.alert_rows(prometheus)
    assert len(rows) > 15 and all(row.alive for row in rows)


def test_pictures(prometheus: httpx.Client, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    render = import_module("deploy.dashboards.render")
    dashboard = {
        "title": "One",
        "panels": [
            {
                "title": "Up",
                "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": "s"}},
                "targets": [{"expr": "vector(1) - vector(0.5)", "legendFormat": "half"}],
            }
        ],
    }
    found = render.series_of(prometheus, dashboard["panels"][0]["targets"][0], 5)
    (name, minutes, values) = found[0]
    assert name == "half" and len(values) == render.POINTS + 1 and set(values) == {0.5}
    assert minutes[0] == pytest.approx(-5, abs=0.1) and minutes[-1] == pytest.approx(0, abs=0.1)
    never_came = {"expr": "(sum by (job) (nothing_total) >= 0) or on () vector(0)", "legendFormat": "of {{job}}"}
    assert [name for name, _, _ in render.series_of(prometheus, never_came, 5)] == [render.NOTHING_YET]
    render.picture(prometheus, dashboard, 5, tmp_path / "images" / "one.png")
    assert (tmp_path / "images" / "one.png").read_bytes().startswith(b"\x89PNG")


def test_values_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT)
    render = import_module("deploy.dashboards.render")
    assert render.readable(0.0335, "s") == "33.5 ms" and render.readable(3 * 2**20, "bytes") == "3 MiB"
    assert render.readable(0.25, "percentunit") == "25 %" and render.readable(1_500, "eps") == "1,500 /s"
    assert render.legend("{{job}} of {{ topic }}", {"job": "worker", "topic": "t"}) == "worker of t"
