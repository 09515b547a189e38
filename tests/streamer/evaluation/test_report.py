from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rich.console import Console

from streamer.evaluation.plots import Series, bars, lines
from streamer.evaluation.report import page, write_report
from streamer.evaluation.table import (
    ACCURACY,
    LISTS,
    PARTS,
    SESSIONS,
    SLATES,
    accuracy_of,
    best,
    cell,
    lists_of,
    parts_of,
    teachers_table,
    terminal_table,
)


def report(protocol: str = "prequential", **models: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": "<set>",
        "description": "what & whence",
        "simulated": True,
        "digest": "abc",
        "events": 1_000,
        "tested_events": 900,
        "users": 10,
        "items": 20,
        "protocol": protocol,
        "on": "test",
        "repeats": False,
        "seeds": [0, 1],
        "minutes": 0.5,
        "cut_short": ["slow (seed 1): not begun"],
        "models": models,
    }


CURVE = {
    "hr@10": [0.1, 0.3],
    "hr@10_untied": [0.1, None],
    "ndcg@10": [0.1, 0.1],
    "share_of_stream": [0.6, 1.0],
}
FULL = report(
    popular={"hr@10": 0.1, "ndcg@10": 0.05, "hr@10_session_0": 0.1, "tests_session_0": 7.0, "sd": {}, "curve": CURVE},
    better={"hr@10": 0.2, "ndcg@10": 0.04, "coverage@10": 0.5, "sd": {"hr@10": 0.01}, "curve": CURVE},
)


class Reader(HTMLParser):
    """Collects tags and the addresses that they name."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_holds_tables_bars_and_curves_and_needs_no_network() -> None:
    reader = Reader()
    reader.feed(page(FULL))
    assert reader.tags.count("svg") == 3  # bars, curve, curve of the untied events
    assert reader.tags.count("table") == 3
    assert reader.addresses == [] and "script" not in reader.tags
    assert "http" not in page(FULL)


def test_names_are_escaped_and_warnings_shown() -> None:
    text = page(FULL)
    assert "&lt;set&gt;" in text and "<set>" not in text and "what &amp; whence" in text
    assert "slow (seed 1): not begun" in text and "simulated" in text


def test_offline_protocols_have_no_curve() -> None:
    reader = Reader()
    reader.feed(page(report("leave-one-out", popular={"hr@10": 0.1, "sd": {}})))
    assert reader.tags.count("svg") == 1


def test_a_report_without_a_finished_run_is_still_a_page(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "deep" / "report.html")
    assert "not begun" in (tmp_path / "deep" / "report.html").read_text()


def test_only_columns_with_figures_are_shown_and_sessions_come_first() -> None:
    assert [column.metric for column in accuracy_of(FULL)] == ["hr@10", "ndcg@10"]
    assert [column.metric for column in lists_of(FULL)] == ["coverage@10"]
    assert [column.metric for column in parts_of(FULL)] == ["hr@10_session_0"]
    sessions = report("sessions", popular={"hr@10": 0.1, "hr@20": 0.2, "mrr@20": 0.1})
    assert [column.title for column in accuracy_of(sessions)] == ["P@20", "MRR@20", "HR@10"]


def test_the_best_is_marked_and_deviations_are_given() -> None:
    assert best(FULL, ACCURACY[0]) == "better"
    assert cell(FULL["models"]["better"], ACCURACY[0]) == ".2000 ± .0100"
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as printed:
        console.print(terminal_table(FULL, accuracy_of(FULL), "figures"))
    assert ".2000 ± .0100" in printed.get()


def test_every_table_is_whole_in_80_columns() -> None:
    metrics = [column.metric for columns in (ACCURACY, LISTS, SLATES, SESSIONS, PARTS) for column in columns]
    values: dict[str, Any] = dict.fromkeys(metrics, 0.1234) | {"sd": dict.fromkeys(metrics, 0.0012)}
    cost = {"label_seconds_per_1000": 12.34, "learn_seconds_per_1000": 23.45, "label_bytes": 345.0, "ndcg@10": 0.2}
    gain = {"hr@10": 0.0123, "hr@10_sd": 0.0011, "ndcg@10": -0.0045, "ndcg@10_sd": 0.0022}
    taught = {**values, "teacher": {"parameters": 12_345_678.0, **cost}, "gain": gain}
    found = {**report(**{"a-blend-with-a-long-name": values, "teacher 8x": taught}), "method": "auxiliary"}
    console = Console(width=80)
    with console.capture() as captured:
        for columns in (SESSIONS + ACCURACY, LISTS, SLATES, PARTS):
            console.print(terminal_table(found, list(columns), "figures"))
        console.print(teachers_table(found))
    printed = captured.get()
    assert "…" not in printed and max(map(len, printed.splitlines())) <= 80
    for piece in ("12,345,678", "12.34", "23.45", "345", "+0.0123 ± .0011", "-0.0045 ± .0022", ".1234 ± .0012"):
        assert piece in printed, piece
    assert printed.count("a-blend-with-a-long-name") == printed.count("teacher 8x") > 5


def test_plots_are_well_formed_and_keep_bars_in_proportion() -> None:
    svg = ElementTree.fromstring(bars([Series("a & b", [0.2], 0.01), Series("c", [0.1]), Series("d", [math.nan])]))
    widths = [float(bar.attrib["width"]) for bar in svg.iter("rect")]
    assert abs(widths[0] / widths[1] - 2) < 0.01
    drawn = ElementTree.fromstring(lines([Series("a", [0.1, math.nan, 0.3])], [0.2, 0.6, 1.0], "share"))
    (line,) = drawn.iter("polyline")
    assert len(line.attrib["points"].split()) == 2  # a gap is left out
