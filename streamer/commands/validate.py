"""``headwater validate``: event files, looked at before they are published."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import typer
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamer.commands.reporting import write_json
from streamer.events import Limits
from streamer.settings import Settings
from streamer.sources.files import ColumnMap, read_lines
from streamer.validate import Finding, Inspection, inspect

_PLACES_SHOWN = 3
_POSITIONS_SHOWN = 20

MEANINGS = {
    "event_id_used_twice": "two different events with one event_id: the second one would be dropped",
    "repeated_impression_id": "two impressions with one impression_id: clicks cannot be joined",
    "item_not_in_slate": "interactions name an impression that did not show their item",
    "interaction_before_impression": "interactions lie before the impression that they name",
    "duplicate_event": "the same event again: taken once",
    "out_of_order": "events older than one before them: merged by event time, counted as late",
    "unknown_impression": "interactions name an impression that is not in these files",
    "unknown_item": "items that are used but not described in these files",
    "item_without_title": "items without a title: found by no search",
}


def command(
    files: list[Path] = typer.Argument(..., help="JSONL, CSV, TSV or Parquet files that belong together."),
    columns: list[str] = typer.Option([], "--map", help="FIELD=COLUMN of a table, for instance user_id=uid."),
    constants: list[str] = typer.Option([], "--set", help="FIELD=VALUE for every row, for instance action=view."),
    json_path: Path | None = typer.Option(None, "--json", help="Write everything there."),
) -> None:
    """Check event files: types, times, duplicates, joins, positions, sessions. Status 1 where there are errors."""
    settings = Settings()
    mapping, limits = ColumnMap.parse(columns, constants), Limits(**settings.events.model_dump())
    lines = chain.from_iterable(read_lines(path, mapping, limits) for path in files)
    found = inspect(lines, settings.sessions.gap_seconds)
    show(found, Console())
    write_json(json_path, {"files": [str(path) for path in files], **found.as_json()})
    if not found.is_good:
        raise typer.Exit(1)


def show(found: Inspection, console: Console) -> None:
    """Print the page."""
    console.print(_summary(found))
    if found.shown_by_position:
        console.print(_positions(found))
    for title, findings in (
        ("[red]refused[/red]", found.rejected),
        ("[red]errors[/red]", found.errors),
        ("[yellow]warnings[/yellow]", found.warnings),
    ):
        if findings:
            console.print(_findings(title, findings))
    console.print("[green]good[/green]" if found.is_good else "[red]not good: see above[/red]")


def _summary(found: Inspection) -> Table:
    table = Table(show_header=False, title="events")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    first, last = _moment(found.first_event_time_ms), _moment(found.last_event_time_ms)
    quantiles = ", ".join(f"{name} {value:g}" for name, value in found.session_length_quantiles.items())
    for name, value in (
        ("lines", f"{found.lines:,}"),
        ("types", _counts(found.types)),
        ("actions", _counts(found.actions)),
        ("surfaces", _counts(found.surfaces)),
        ("event time (UTC)", f"{first} to {last}"),
        ("furthest back", f"{found.furthest_back_ms / 1_000:,.1f} s"),
        ("users", f"{found.users:,}"),
        ("items", f"{found.items_used:,} used, {found.items_described:,} described"),
        ("joined interactions", f"{found.joined_interactions:,}"),
        ("sessions", f"{found.sessions:,} (events in one: {quantiles or 'none'})"),
    ):
        table.add_row(name, Text(value))
    return table


def _positions(found: Inspection) -> Table:
    table = Table("position", "shown", "clicked", "rate", "", title="clicks by position")
    clicks = found.clicks_by_position + [0] * (len(found.shown_by_position) - len(found.clicks_by_position))
    rates = [click / shown for click, shown in zip(clicks, found.shown_by_position, strict=True)]
    top = max(rates) or 1.0
    for position, rate in enumerate(rates[:_POSITIONS_SHOWN]):
        shown, clicked = found.shown_by_position[position], clicks[position]
        table.add_row(str(position + 1), f"{shown:,}", f"{clicked:,}", f"{rate:.3f}", Bar(top, 0, rate, width=20))
    return table


def _findings(title: str, findings: dict[str, Finding]) -> Table:
    table = Table(title=title)
    for heading in ("count", "what", "first ones"):
        table.add_column(heading, overflow="fold")
    for word, finding in sorted(findings.items(), key=lambda pair: -pair[1].count):
        meaning = f"{word}: {MEANINGS[word]}" if word in MEANINGS else word
        table.add_row(f"{finding.count:,}", meaning, Text("\n".join(finding.places[:_PLACES_SHOWN])))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _moment(time_ms: int | None) -> str:
    return "?" if time_ms is None else datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
