"""Pictures of the dashboards' series, for documents: what Prometheus has of each panel, drawn without Grafana.

python -m deploy.dashboards.render [--prometheus http://localhost:9090] [--minutes 15] [--out docs/images]
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import matplotlib

matplotlib.use("agg")  # no display is needed
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from PIL import Image

from deploy.dashboards.live import FOLDER

POINTS = 240
COLOURS = 64
MOST_LINES = 8  # in one legend
NOTHING_YET = "nothing yet"
_FIGURE_ROWS = 4
_COLUMNS, _INCHES_A_COLUMN, _INCHES_A_ROW = 24, 0.7, 0.45
_SCALES = {"s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")), "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))}
_MARKS = {"percentunit": "%", "eps": "/s", "reqps": "/s"}
Series = tuple[str, list[float], list[float]]


def series_of(prometheus: httpx.Client, target: Mapping[str, str], minutes: float) -> list[Series]:
    """Read one query over the last minutes: legend, minutes before now, values."""
    end = time.time()
    span: dict[str, str | float] = {
        "query": target["expr"],
        "start": end - 60 * minutes,
        "end": end,
        "step": 60 * minutes / POINTS,
    }
    result = prometheus.get("/api/v1/query_range", params=span).raise_for_status().json()["data"]["result"]
    if "{{" in target["legendFormat"] and len(result) > 1:  # without the zero that stood in before there was data
        result = [found for found in result if found["metric"]]
    return [
        (
            legend(target["legendFormat"], found["metric"]) if _is_named(target, found) else NOTHING_YET,
            [(moment - end) / 60 for moment, _ in found["values"]],
            [float(value) for _, value in found["values"]],
        )
        for found in result
    ]


def _is_named(target: Mapping[str, str], found: Mapping[str, Any]) -> bool:
    """Whether a series has the labels of its legend: the zero that stands in for what never came has none."""
    return "{{" not in target["legendFormat"] or bool(found["metric"])


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """Fill a legend as Grafana does.

    >>> legend("{{job}} of {{ topic }}", {"job": "worker"})
    'worker of '
    """
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), pattern)


def readable(value: float, unit: str) -> str:
    """Write a value with its unit.

    >>> readable(0.0335, "s"), readable(0.25, "percentunit"), readable(1500, "short")
    ('33.5 ms', '25 %', '1,500')
    """
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    for scale, name in _SCALES.get(unit, ()):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {name}"
    mark = _MARKS.get(unit, "")
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {mark}".strip()


def _latest(one: Series, unit: str) -> str:
    return next((readable(value, unit) for value in reversed(one[2]) if math.isfinite(value)), "none")


def draw(axes: Axes, panel: Mapping[str, Any], found: list[Series]) -> None:
    """Draw one panel."""
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    axes.set_title(panel["title"], fontsize=9, loc="left", fontweight="bold")
    for name, minutes, values in found[:MOST_LINES]:
        drawn = [value if math.isfinite(value) else math.nan for value in values]
        label = f"{name.strip() or panel['title']}  {_latest((name, minutes, drawn), unit)}"
        axes.plot(minutes, drawn, linewidth=1.1, label=label)
    if panel["gridPos"]["h"] <= _FIGURE_ROWS and found:
        axes.set_title(f"{panel['title']}: {_latest(found[0], unit)}", fontsize=8, loc="left", fontweight="bold")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value, unit)))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if found and panel["gridPos"]["h"] > _FIGURE_ROWS:
        if len(found) > MOST_LINES:
            axes.plot([], [], " ", label=f"and {len(found) - MOST_LINES} more")
        columns = 4 if panel["gridPos"]["w"] >= _COLUMNS // 2 else 2
        axes.legend(fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=columns)


def picture(prometheus: httpx.Client, dashboard: Mapping[str, Any], minutes: float, path: Path) -> None:
    """Draw one dashboard: its panels where Grafana has them."""
    panels = dashboard["panels"]
    rows = 1 + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)  # one for the title
    figure = pyplot.figure(figsize=(_COLUMNS * _INCHES_A_COLUMN, rows * _INCHES_A_ROW))
    for panel in panels:
        axes = figure.add_axes(_place(panel["gridPos"], rows))
        draw(axes, panel, [one for target in panel["targets"] for one in series_of(prometheus, target, minutes)])
        axes.set_xlim(-minutes, 0)
    figure.suptitle(f"{dashboard['title']}, the last {minutes:g} minutes", x=0.01, ha="left", fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    with Image.open(path) as drawn:
        fewer = drawn.convert("RGB").quantize(COLOURS)
    fewer.save(path, optimize=True)  # a third of the size


def _place(at: Mapping[str, int], rows: int) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of a panel's axes, in shares of the picture: its cells less labels and legend."""
    beneath = 2.2 if at["h"] > _FIGURE_ROWS else 1.0
    bottom = 1 - (1 + at["y"] + at["h"] - beneath) / rows
    return (at["x"] + 1.1) / _COLUMNS, bottom, (at["w"] - 1.4) / _COLUMNS, (at["h"] - beneath - 1) / rows


def render(prometheus: httpx.Client, minutes: float, folder: Path) -> list[Path]:
    """Draw every dashboard; returns the pictures."""
    drawn = []
    for path in sorted(FOLDER.glob("*.json")):
        picture(prometheus, json.loads(path.read_text()), minutes, folder / f"{path.stem}.png")
        drawn.append(folder / f"{path.stem}.png")
    return drawn


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", default="http://localhost:9090")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    with httpx.Client(base_url=given.prometheus, timeout=30) as prometheus:
        print(*render(prometheus, given.minutes, given.out), sep="\n")


if __name__ == "__main__":
    main()
