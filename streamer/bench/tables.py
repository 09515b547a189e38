"""The tables that the measurements print, one each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.markup import escape

from streamer.wide_table import WideTable


def table_of(title: str, headings: Iterable[str], rows: Iterable[Iterable[object]]) -> WideTable:
    """Lay out rows; the first column is text, the others are figures."""
    table = WideTable(title, headings, text=("note",))
    for row in rows:
        table.add_row(*(escape(shown(value)) for value in row))
    return table


def shown(value: object) -> str:
    """Write a figure with as many digits as it deserves.

    >>> shown(None), shown(12_345), shown(3.14159), shown(271.8), shown("x")
    ('-', '12,345', '3.14', '272', 'x')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def serve_tables(report: Mapping[str, Any]) -> Iterator[WideTable]:
    """Rates, stages and the floors of the same run; times in milliseconds, each table within 80 columns."""
    world, measured = report["world"], report["serve"]
    size = f"{world['items']:,} items, {world['users']:,} users, {world['online_store']}"
    headings = ("rate/s", "sent", "ok", "fallback", "p50", "p90", "p99", "max", "CPU ms")
    rows = [
        (f"{one['rate']:g}", one["sent"], one["ok"], f"{one['fallback_share']:.2%}", *_times(one)) for one in measured
    ]
    yield table_of(f"{size}; milliseconds from due to answered", headings, rows)
    stages = sorted({stage for one in measured for stage in one["stages"]})
    yield table_of(
        "stages of a request, ms",
        ("rate/s", "", *(stage.replace(" ", "\n") for stage in stages)),
        [
            (f"{one['rate']:g}", name, *(one.get(kind, {}).get(stage) for stage in stages))
            for one in measured
            for name, kind in (("p50", "stages_p50"), ("p99", "stages"))
        ],
    )
    yield table_of("floors: the parts by themselves, ms", ("", *headings[4:]), _floor_rows(report["floors"]))


def _times(one: Mapping[str, Any]) -> Iterator[object]:
    return (one.get(name) for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "server_cpu_ms"))


def _floor_rows(floors: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, found in floors.items():
        for one in found if isinstance(found, list) else [found]:
            yield name + (f" at {one['rate']:g}/s" if "rate" in one else ""), *_times(one)


def freshness_table(found: Iterable[Mapping[str, Any]]) -> WideTable:
    """One line a rate: p50 and p95 of each way."""
    ways = ("session", "rows", "dense")
    headings = ("events/s", "learnt/s", "left", "kept up", *(f"{way} {p}" for way in ways for p in ("p50", "p95")))
    rows = [
        (
            f"{one['events_per_s']:.0f}",
            one["learned_per_s"],
            one["backlog"],
            "yes" if one["kept_up"] else "no",
            *(one[way].get(f"{p}_ms") for way in ways for p in ("p50", "p95")),
        )
        for one in found
    ]
    return table_of("milliseconds from the publication of an event until it shows", headings, rows)


def ingest_table(report: Mapping[str, Any]) -> WideTable:
    """Show publishing alone (the floor), the worker, and the door by the size of a request."""
    worker = report["worker"]
    rows: list[tuple[object, ...]] = [
        ("floor: a producer publishes", report["publish_per_s"], None, None, None),
        ("worker catches up", worker["events_per_s"], worker["cpu_us_per_event"], None, None),
    ]
    for one in report["door"]:
        figures = (one["events_per_s"], one["cpu_us_per_event"], one["p50_ms"], one["p99_ms"])
        rows.append((f"POST /events, {one['events_in_a_request']} in a request", *figures))
    headings = ("way in", "events/s", "cpu µs/event", "p50 ms", "p99 ms")
    return table_of(f"{report['events']:,} events of {report['source']}", headings, rows)


def retrieve_table(title: str, found: Iterable[Mapping[str, Any]]) -> WideTable:
    """One line a kind of search; times in milliseconds."""
    figures = ("recall@100", "p50_ms", "p99_ms", "cpu_p99_ms", "megabytes", "build_s", "build_cpu_s", "note")
    sized = [{**one, "megabytes": one["bytes"] / 1e6 if "bytes" in one else None} for one in found]
    rows = [(one["kind"], *(one.get(key) for key in figures)) for one in sized]
    return table_of(title, ("kind", "recall", "p50", "p99", "CPU p99", "MB", "build s", "CPU s", "note"), rows)


def rollback_table(report: Mapping[str, Any]) -> WideTable:
    """One line a load, as usual and with a rollback in its time; how soon the versions served."""
    world, after = report["world"], report["serves_after_s"]
    title = f"{world['items']:,} items; rolled back in {after['rolled_back']} s, released in {after['released']} s"
    headings = ("load", "rate/s", "sent", "ok", "fallback", "p50 ms", "p99 ms", "max ms")
    figures = ("p50_ms", "p99_ms", "max_ms")
    rows = [
        (name, f"{one['rate']:g}", one["sent"], one["ok"], f"{one['fallback_share']:.2%}", *map(one.get, figures))
        for name, one in (("as usual", report["usual"]), ("with a rollback", report["moved"]))
    ]
    return table_of(title, headings, rows)


def recovery_table(report: Mapping[str, Any]) -> WideTable:
    """One line a process: seconds without a kill and with one."""
    rows = [(name, one["usual_s"], one["recovered_s"]) for name, one in report["processes"].items()]
    return table_of(
        f"seconds until the same state serves, {report['rate']:g} events/s", ("kill -9", "usual", "killed"), rows
    )
