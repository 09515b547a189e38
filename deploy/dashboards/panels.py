"""What a dashboard is made of, and how it becomes Grafana's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
TAG = "headwater"
COLUMNS = 24


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel: its queries by legend.

    Parameters
    ----------
    title
        What is shown.
    queries
        PromQL by legend; ``{{label}}`` in a legend is the series's label.
    unit
        Grafana's name of the unit: ``s``, ``short``, ``percentunit``, ``eps`` …
    width
        Columns of 24.
    about
        Shown when the pointer rests on the title.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    width: int = 12
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Figure(Panel):
    """One large number with a small line behind it."""

    width: int = 4


@dataclass(frozen=True, kw_only=True)
class Page:
    """One dashboard."""

    uid: str
    title: str
    panels: tuple[Panel, ...]


def rendered(page: Page) -> str:
    """Write a dashboard as Grafana reads it from disk."""
    built = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .tags([TAG])
        .timezone("browser")
        .refresh("5s")
        .time("now-15m", "now")
        .link(dashboard.DashboardLink("Headwater").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True))
    )
    for number, panel in enumerate(page.panels, 1):
        built = built.with_panel((_figure(panel) if isinstance(panel, Figure) else _lines(panel)).id(number))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _figure(panel: Panel) -> stat.Panel:
    drawn = stat.Panel().title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE)
    latest = common.ReduceDataOptions().calcs(["lastNotNull"])
    drawn = drawn.height(4).span(panel.width).graph_mode(BigValueGraphMode.AREA).reduce_options(latest)
    for query in _queries(panel):
        drawn = drawn.with_target(query)
    return drawn


def _lines(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    drawn = timeseries.Panel().title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE)
    drawn = drawn.height(8).span(panel.width).fill_opacity(8).legend(legend.show_legend(True).calcs(["lastNotNull"]))
    for query in _queries(panel):
        drawn = drawn.with_target(query)
    return drawn


def _queries(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        for number, (legend, expression) in enumerate(panel.queries.items())
    ]
