"""``headwater dead-letter``: look at what could not be read, and replay it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamer import dead_letter
from streamer.commands.reporting import write_json
from streamer.errors import BrokerError
from streamer.events import Limits
from streamer.publishing import Publisher
from streamer.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look at what could not be read, and replay it.")

_REASON = typer.Option(None, help="Only letters with this reason, for instance malformed_json.")
_LIMIT = typer.Option(None, min=1, help="At most so many letters.")
_SERVERS = typer.Option(None, help="host:port of the broker; else the settings.")
_JSON = typer.Option(None, "--json", help="Write the counts there.")


@app.command("list")
def list_letters(
    reason: str | None = _REASON,
    limit: int | None = typer.Option(50, min=1, help="At most so many letters."),
    bootstrap_servers: str | None = _SERVERS,
    json_path: Path | None = _JSON,
) -> None:
    """List letters, oldest first, with their offset, reason and origin."""
    table, reasons = Table(), Counter[str]()
    for heading in ("offset", "time (UTC), from", "reason", "message"):
        table.add_column(heading, overflow="fold")
    for offset, letter in dead_letter.read(_servers(bootstrap_servers), reason, limit):
        reasons[letter.reason] += 1
        table.add_row(
            str(offset),
            Text(f"{_moment(letter.time_ms)}\n{_origin(letter)}"),
            Text(letter.reason),
            Text(letter.message),
        )
    console = Console()
    if table.row_count:
        console.print(table)
    console.print(", ".join(f"{name}: {count}" for name, count in reasons.most_common()) or "no letters", markup=False)
    write_json(json_path, {"letters": sum(reasons.values()), "reasons": dict(reasons)})


@app.command()
def show(
    offset: int = typer.Argument(..., min=0, help="The letter's offset, as `list` shows it."),
    bootstrap_servers: str | None = _SERVERS,
) -> None:
    """Show one letter whole."""
    for position, letter in dead_letter.read(_servers(bootstrap_servers), limit=1, offset=offset):
        if position != offset:
            break
        for name, value in (("reason", letter.reason), ("message", letter.message), ("from", _origin(letter)),
                            ("time", _moment(letter.time_ms)), ("key", repr(letter.key_bytes)),
                            ("bytes", str(letter.raw_bytes))):  # fmt: skip
            typer.echo(f"{name + ':':<9}{value}")
        typer.echo(letter.payload.decode(errors="backslashreplace"))
        return
    raise BrokerError(f"there is no letter at offset {offset}; `headwater dead-letter list` shows which there are")


@app.command()
def replay(
    reason: str | None = _REASON,
    limit: int | None = _LIMIT,
    bootstrap_servers: str | None = _SERVERS,
    json_path: Path | None = _JSON,
) -> None:
    """Send letters back to their topics; those that still break the contract stay where they are."""
    servers, limits = _servers(bootstrap_servers), Limits(**Settings().events.model_dump())
    with Publisher(servers) as publisher:
        report = dead_letter.replay(dead_letter.read(servers, reason, limit), publisher, limits)
    typer.echo(f"{report.sent} sent, {report.still_refused} still refused, {report.truncated} too large to be whole")
    for name, count in sorted(report.reasons.items()):
        typer.echo(f"  {name}: {count}")
    write_json(json_path, asdict(report))


def _servers(given: str | None) -> str:
    return given or Settings().kafka.bootstrap_servers


def _origin(letter: dead_letter.DeadLetter) -> str:
    place = "" if letter.partition is None else f"[{letter.partition}]@{letter.offset}"
    return letter.topic + place


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
