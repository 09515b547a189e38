"""``headwater replay``: a data set as a stream."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from streamer.commands.reporting import progress_bar, write_json
from streamer.publishing import Publisher
from streamer.replay import Pacer, Replayer, ReplayReport, read_cursor
from streamer.settings import Settings
from streamer.sources import ColumnMap, Source, open_source
from streamer.sources.download import download


def command(
    dataset: str = typer.Option(..., help="ml-100k, ml-latest-small, ml-1m, beauty, toys, mind, simulator or a file."),
    speed: float = typer.Option(0.0, help="How much faster than the clock event time passes; 0: as fast as possible."),
    limit: int | None = typer.Option(None, min=1, help="Only the earliest events, so many."),
    restart: bool = typer.Option(False, "--restart", help="Begin anew instead of where the last replay ended."),
    columns: list[str] = typer.Option([], "--map", help="FIELD=COLUMN of a table, for instance user_id=uid."),
    constants: list[str] = typer.Option([], "--set", help="FIELD=VALUE for every row, for instance action=view."),
    fetch: bool = typer.Option(False, "--download", help="Fetch a MovieLens set first, after showing its licence."),
    yes: bool = typer.Option(False, "--yes", help="Agree to the licence without being asked."),
    bootstrap_servers: str | None = typer.Option(None, help="host:port of the broker; else the settings."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the counts there."),
) -> None:
    """Replay a data set in event time, with its catalogue; interrupted, it goes on where it was."""
    settings, pacer, console = Settings(), Pacer(speed), Console()
    if fetch:
        console.print(f"in {download(dataset, settings.data or Path('data'), lambda text: yes or typer.confirm(text))}")
    source = open_source(dataset, settings.data or Path("data"), limit, ColumnMap.parse(columns, constants))
    cursor_path = settings.stores.state_dir / "replay" / f"{source.name}.json"
    if restart:
        cursor_path.unlink(missing_ok=True)
    console.print(source.description, markup=False, soft_wrap=True)
    with Publisher(bootstrap_servers or settings.kafka.bootstrap_servers) as publisher:
        report = _replay(Replayer(source, publisher, pacer, cursor_path), source, cursor_path)
    _show(console, report)
    write_json(json_path, {**vars(report), "events_per_second": report.events_per_second})


def _replay(replayer: Replayer, source: Source, cursor_path: Path) -> ReplayReport:
    total = source.event_count + sum(1 for _ in source.items())
    with progress_bar(source.name, total) as bar:
        bar.advance(read_cursor(cursor_path, source.name).acknowledged)
        bar.draw()
        return replayer.run(bar.advance)


def _show(console: Console, report: ReplayReport) -> None:
    if report.resumed_from:
        console.print(f"went on after {report.resumed_from:,} (--restart begins anew)")
    counts = ", ".join(f"{count:,} {kind}s" for kind, count in sorted(report.published.items())) or "nothing new"
    console.print(f"{counts} in {report.seconds:.1f} s, {report.events_per_second:,.0f} a second")
