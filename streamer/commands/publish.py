"""``headwater publish``: event files into Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.console import Console

from streamer.commands.reporting import progress_bar, write_json
from streamer.events import Event, Limits
from streamer.publishing import Publisher, publish_all
from streamer.settings import Settings
from streamer.sources.files import ColumnMap, read_lines

_PLACES_SHOWN = 20


@dataclass
class _Refused:
    """Lines that were left out."""

    by_reason: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.by_reason.values())


def command(
    files: list[Path] = typer.Argument(..., help="JSONL, CSV, TSV or Parquet; texts may be gzipped."),
    columns: list[str] = typer.Option([], "--map", help="FIELD=COLUMN of a table, for instance user_id=uid."),
    constants: list[str] = typer.Option([], "--set", help="FIELD=VALUE for every row, for instance action=view."),
    bootstrap_servers: str | None = typer.Option(None, help="host:port of the broker; else the settings."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the counts there."),
) -> None:
    """Publish event files; lines that break the contract are left out, counted and shown, and the status is 1."""
    settings = Settings()
    refused = _Refused()
    servers = bootstrap_servers or settings.kafka.bootstrap_servers
    mapping, limits = ColumnMap.parse(columns, constants), Limits(**settings.events.model_dump())
    with Publisher(servers) as publisher, progress_bar("publishing", None) as bar:
        publish_all(publisher, _good_events(files, mapping, limits, refused), bar.advance)
    _show(publisher.sent, refused)
    counts = {"published": dict(publisher.sent), "refused": vars(refused)}
    write_json(json_path, {"files": [str(path) for path in files], **counts})
    if refused.count:
        raise typer.Exit(1)


def _good_events(files: list[Path], mapping: ColumnMap, limits: Limits, refused: _Refused) -> Iterator[Event]:
    for path in files:
        for line in read_lines(path, mapping, limits):
            if line.event is not None:
                yield line.event
            elif line.error is not None:
                refused.by_reason[line.error.reason] += 1
                if len(refused.places) < _PLACES_SHOWN:
                    refused.places.append(f"{path}:{line.number}: {line.error.reason}: {line.error}")


def _show(sent: Counter[str], refused: _Refused) -> None:
    console = Console()
    for topic, count in sorted(sent.items()):
        console.print(f"{topic}: {count:,} published")
    if refused.count:
        console.print(f"[red]{refused.count:,} lines refused[/red]", dict(refused.by_reason))
        for place in refused.places:
            console.print("  " + place, markup=False, highlight=False, soft_wrap=True)
