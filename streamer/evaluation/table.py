"""Which figures are shown, in which order and how: shared by the terminal and the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from streamer.wide_table import WideTable


@dataclass(frozen=True)
class Column:
    """One metric in a table."""

    metric: str
    title: str
    meaning: str


ACCURACY = (
    Column("hr@10", "HR@10", "share of tests whose item is among the first 10"),
    Column("ndcg@10", "NDCG@10", "the same, discounted by its place"),
    Column("mrr@10", "MRR@10", "mean of one over its place"),
    Column("hr@10_untied", "HR@10 untied", "only events at another time than the user's previous one"),
    Column("ndcg@10_untied", "NDCG@10 untied", "only events at another time than the user's previous one"),
)
LISTS = (
    Column("debiased_hr@10", "debiased HR@10", "every item counts alike, however popular"),
    Column("coverage@10", "coverage", "share of the items that appear in any list of 10"),
    Column("popularity@10", "popularity", "share of all events that a shown item had"),
    Column("events_per_second", "events/s", "learnt in a second, tests included where they are part of the walk"),
    Column("stability", "stability", "rank-biased overlap of successive lists of a user"),
)
SLATES = (
    Column("slate_auc", "slate AUC", "pairs of a taken and a left item in the right order"),
    Column("log_loss", "log-loss", "of calibrated probabilities on slates"),
    Column("calibration_error", "ECE", "expected calibration error on slates"),
)
SESSIONS = (
    Column("hr@20", "P@20", "share of tests whose item is among the first 20"),
    Column("mrr@20", "MRR@20", "mean of one over its place"),
)
PARTS = (
    Column("hr@10_session_0", "0 in session", "first event after a pause of 30 minutes"),
    Column("hr@10_session_1", "1", "one event in the session before it"),
    Column("hr@10_session_2_5", "2 to 5", "two to five"),
    Column("hr@10_session_over_5", "over 5", "more"),
    Column("hr@10_new_items", "new items", "items with at most 10 events before"),
    Column("hr@10_new_users", "new users", "users with fewer than 5 events before"),
)


def accuracy_of(report: dict[str, Any]) -> list[Column]:
    """Columns of where the taken items stood; the first is the protocol's own."""
    first = SESSIONS if report["protocol"] == "sessions" else ()
    return _known(report, (*first, *ACCURACY))


def lists_of(report: dict[str, Any]) -> list[Column]:
    """Columns of what the lists show, and of speed."""
    return _known(report, LISTS)


def slates_of(report: dict[str, Any]) -> list[Column]:
    """Columns of order and probabilities on slates; none where nothing was shown."""
    return _known(report, SLATES)


def parts_of(report: dict[str, Any]) -> list[Column]:
    """Columns of the parts of a stream; none for offline protocols."""
    return _known(report, PARTS)


def cell(values: dict[str, Any], column: Column) -> str:
    """Mean, with the deviation over seeds where chance plays a part.

    >>> cell({"hr@10": 0.25, "sd": {"hr@10": 0.001}}, ACCURACY[0]), cell({}, ACCURACY[0])
    ('.2500 ± .0010', '')
    """
    value, spread = values.get(column.metric, math.nan), values.get("sd", {}).get(column.metric)
    if math.isnan(value):
        return ""
    if column.metric.endswith("per_second"):
        return f"{value:,.0f}"
    return _short(value) + (f" ± {_short(spread)}" if spread else "")


def terminal_table(report: dict[str, Any], columns: list[Column], title: str) -> WideTable:
    """One row a model, best figure of each column in bold."""
    table = WideTable(title, ("model", *(column.title for column in columns)))
    for name, values in report["models"].items():
        cells = [cell(values, column) for column in columns]
        marks = [
            f"[bold]{text}[/bold]" if best(report, column) == name else text
            for column, text in zip(columns, cells, strict=True)
        ]
        table.add_row(name, *marks)
    return table


def teachers_table(report: dict[str, Any]) -> WideTable:
    """One row a teacher: its costs, its own accuracy, the student's, and what the student gained."""
    titles = ("parameters", "label s/1,000", "learn s/1,000", "bytes a label", "its NDCG@10", "HR@10", "NDCG@10")
    table = WideTable(
        f"teachers on {report['dataset']}, {report['method']} distillation",
        ("", *titles, "gain HR@10", "gain NDCG@10"),
    )
    for name, values in report["models"].items():
        table.add_row(
            name, *_teacher_cells(values), *(cell(values, column) for column in ACCURACY[:2]), *_gains(values)
        )
    return table


def _teacher_cells(values: dict[str, Any]) -> list[str]:
    if "teacher" not in values:
        return [""] * 5
    cost = values["teacher"]
    seconds = [f"{cost[name]:.2f}" for name in ("label_seconds_per_1000", "learn_seconds_per_1000")]
    return [
        f"{cost['parameters']:,.0f}",
        *seconds,
        f"{cost['label_bytes']:.0f}",
        _short(cost["ndcg@10"]) if "ndcg@10" in cost else "",
    ]


def _gains(values: dict[str, Any]) -> list[str]:
    if "gain" not in values:
        return ["", ""]
    gain, spread = values["gain"], [values["gain"][f"{name}_sd"] for name in ("hr@10", "ndcg@10")]
    found = [f"{gain[name]:+.4f}" for name in ("hr@10", "ndcg@10")]
    return [text + (f" ± {_short(sd)}" if sd is not None else "") for text, sd in zip(found, spread, strict=True)]


LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error"})
NO_BEST = frozenset({"popularity@10", "stability", "events_per_second"})  # to be looked at, not to be won


def best(report: dict[str, Any], column: Column) -> str | None:
    """Name of the model that leads a column; None where nobody does or leading means nothing."""
    if column.metric in NO_BEST:
        return None
    known = {
        name: values[column.metric]
        for name, values in report["models"].items()
        if not math.isnan(values.get(column.metric, math.nan))
    }
    sign = -1 if column.metric in LOWER_IS_BETTER else 1
    return max(known, key=lambda name: sign * known[name]) if known else None


def _known(report: dict[str, Any], columns: tuple[Column, ...]) -> list[Column]:
    """Columns in which some model has a figure."""
    models = report["models"].values()
    return [c for c in columns if any(not math.isnan(values.get(c.metric, math.nan)) for values in models)]


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0") if abs(value) < 1 else f"{value:.3f}"
