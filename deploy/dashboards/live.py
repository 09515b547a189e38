"""The dashboards and alerts at a running Prometheus: every query answered, every rule evaluated, a row each.

python -m deploy.dashboards.live [--prometheus http://localhost:9090]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    dashboard: str
    panel: str
    legend: str
    expression: str


@dataclass(frozen=True)
class Row:
    """What Prometheus says of a panel's query or of an alert.

    ``alive`` is whether it answers with at least one number, or evaluates the rule without an error.
    """

    where: str
    said: str
    alive: bool

    def __str__(self) -> str:
        """Draw the row."""
        return f"{'ok  ' if self.alive else 'FAIL'}  {self.where}: {self.said}"


def queries(folder: Path = FOLDER) -> list[Query]:
    """List every query of every dashboard."""
    return [
        Query(page["title"], panel["title"], target["legendFormat"], target["expr"])
        for page in (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
        for panel in page["panels"]
        for target in panel["targets"]
    ]


def panel_rows(prometheus: httpx.Client) -> list[Row]:
    """Ask every panel's queries."""
    return [_panel_row(prometheus, query) for query in queries()]


def _panel_row(prometheus: httpx.Client, query: Query) -> Row:
    where = f"{query.dashboard} / {query.panel} / {query.legend}"
    answer = prometheus.get("/api/v1/query", params={"query": query.expression})
    if answer.is_error:
        return Row(where, f"{answer.json().get('error', answer.status_code)} for {query.expression}", False)
    values = [float(sample["value"][1]) for sample in answer.json()["data"]["result"]]
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return Row(where, f"no data for {query.expression}", False)
    return Row(where, f"{len(numbers)} series, {min(numbers):.4g} to {max(numbers):.4g}", True)


def alert_rows(prometheus: httpx.Client) -> list[Row]:
    """Ask how every alert stands: it must have been evaluated, and without an error."""
    answer = prometheus.get("/api/v1/rules", params={"type": "alert"}).raise_for_status().json()
    rules: list[dict[str, Any]] = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
    return [
        Row(
            f"alert {rule['name']}",
            rule.get("lastError") or f"{rule['state']}, {rule['health']}",
            rule["health"] == "ok",
        )
        for rule in rules
    ]


def main() -> None:
    """Print the rows; exit 1 where one is not alive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", default="http://localhost:9090")
    with httpx.Client(base_url=parser.parse_args().prometheus, timeout=15) as prometheus:
        rows = panel_rows(prometheus) + alert_rows(prometheus)
    print(*rows, sep="\n")
    sys.exit(0 if rows and all(row.alive for row in rows) else 1)


if __name__ == "__main__":
    main()
