"""An evaluation as one self-contained HTML page: tables, bars, curves; no script and no network."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

from streamer.evaluation.plots import Series, bars, lines
from streamer.evaluation.style import STYLE
from streamer.evaluation.table import Column, accuracy_of, best, cell, lists_of, parts_of, slates_of

_PROTOCOLS = {
    "leave-one-out": "Every user's last item is the test; the one before it is in the history but was not trained on. "
    "Other users' later events are learnt, so the future leaks.",
    "time-split": "Learnt up to one moment, then each user's first events after it are tested.",
    "sessions": "Each prefix of a held-out session is asked for the next item.",
    "prequential": "Every event of the stream is tested first and then learnt; the warm-up is learnt but not counted.",
}


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write the page of what :func:`streamer.evaluation.runs.evaluate` returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(report), encoding="utf-8")


def page(report: dict[str, Any]) -> str:
    """Return the page as text."""
    title = f"{report['dataset']}, {report['protocol']}"
    sections = [
        _main(report),
        _bars(report),
        *_curves(report),
        _parts(report),
        _lists(report),
        _slates(report),
        _legend(report),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{_head(report, title)}{''.join(sections)}</main></body></html>\n"
    )


def _head(report: dict[str, Any], title: str) -> str:
    facts = {
        "events": f"{report['events']:,} ({report['tested_events']:,} may be tested)",
        "users": f"{report['users']:,}",
        "items": f"{report['items']:,}",
        "digest": report["digest"],
        "measured on": report["on"],
        "seen items": "stay in the lists" if report["repeats"] else "filtered out",
        "seeds": ", ".join(map(str, report["seeds"])),
        "minutes": f"{report['minutes']:.1f}",
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    warnings = [f"Time was up: {line}" for line in report["cut_short"]]
    warnings += ["The events are simulated."] if report["simulated"] else []
    return (
        f'<h1>{escape(title)}</h1><p class="soft">{escape(report["description"])}. {_PROTOCOLS[report["protocol"]]} '
        f"The full catalogue is ranked; ties count against the model.</p>"
        + "".join(f'<p class="warning">{escape(line)}</p>' for line in warnings)
        + f"<dl>{rows}</dl>"
    )


def _main(report: dict[str, Any]) -> str:
    return _section("Where the taken items stood", _table(report, accuracy_of(report)))


def _lists(report: dict[str, Any]) -> str:
    return _section("What the lists show, and speed", _table(report, lists_of(report)))


def _slates(report: dict[str, Any]) -> str:
    columns = slates_of(report)
    return _section("Slates that were shown", _table(report, columns)) if columns else ""


def _parts(report: dict[str, Any]) -> str:
    columns = parts_of(report)
    counts: dict[str, Any] = next(iter(report["models"].values()), {})
    notes = ", ".join(
        f"{column.title}: {counts.get(column.metric.replace('hr@10', 'tests'), 0):,.0f}" for column in columns
    )
    body = f"{_table(report, columns)}<p class='soft'>Tests in each: {notes}.</p>"
    return _section("HR@10 by events in the session, of new items, of new users", body) if columns else ""


def _bars(report: dict[str, Any]) -> str:
    column = next(iter(accuracy_of(report)), None)
    if column is None:
        return ""
    series = [
        Series(name, [values.get(column.metric, float("nan"))], values.get("sd", {}).get(column.metric))
        for name, values in report["models"].items()
    ]
    return _section(column.title, bars(series))


def _curves(report: dict[str, Any]) -> list[str]:
    curves = {name: values["curve"] for name, values in report["models"].items() if values.get("curve")}
    if not curves:
        return []
    whole = max((curve["share_of_stream"] for curve in curves.values()), key=lambda places: places[-1])
    sections = []
    for metric, title in (("hr@10", "HR@10 over the stream"), ("hr@10_untied", "HR@10 over the stream, untied events")):
        series = [
            Series(name, [math.nan if value is None else value for value in curve[metric]])
            for name, curve in curves.items()
            if curve["share_of_stream"] == whole
        ]
        sections.append(_section(title, lines(series, whole, "share of the stream, end of each slice")))
    return sections


def _table(report: dict[str, Any], columns: list[Column]) -> str:
    head = "".join(f'<th title="{escape(column.meaning)}">{escape(column.title)}</th>' for column in columns)
    rows = []
    for name, values in report["models"].items():
        cells = "".join(
            f"<td{' class=best' if best(report, column) == name else ''}>{cell(values, column)}</td>"
            for column in columns
        )
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f"<table><thead><tr><th>model</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _legend(report: dict[str, Any]) -> str:
    meanings = {
        column.title: column.meaning
        for column in (*accuracy_of(report), *lists_of(report), *parts_of(report), *slates_of(report))
    }
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in meanings.items())
    return _section("What the columns mean", f"<dl>{rows}</dl>")


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"
