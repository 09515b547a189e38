"""``headwater doctor``: what is wrong with this set-up, and the mend."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from streamer.commands.reporting import write_json
from streamer.errors import SettingsError
from streamer.settings import Settings


def command(
    only: list[str] = typer.Option([], "--only", help="Only this part, for instance topics; may be repeated."),
    addresses: list[str] = typer.Option([], "--process", help="http://host:port of a process's metrics to ask too."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Only what is wrong."),
    json_path: Path | None = typer.Option(None, "--json", help="Write every finding there."),
) -> None:
    """Look at versions, broker, topics, stores, state, snapshots, registry, locks, clocks and processes.

    One line for each thing; what is wrong comes with its mend. Exit status 1 when something is wrong. Nothing is
    changed: a topic that the clocks are compared with is deleted again.
    """
    from streamer.doctor.visit import CHECKS, visit  # torch and Feast take seconds to import

    unknown = sorted(set(only) - CHECKS.keys())
    if unknown:
        raise SettingsError(f"--only {unknown[0]!r} is no part; parts are {', '.join(CHECKS)}")
    console, findings = Console(soft_wrap=True, highlight=False), []
    for finding in visit(Settings(), only, addresses):
        findings.append(finding)
        if finding.wrong:
            console.print("[bold red]wrong[/]", Text(finding.line))
        elif not quiet:
            console.print("[green]fine[/] ", Text(finding.line))
    bad = sum(finding.wrong for finding in findings)
    console.print(f"{len(findings) - bad} fine, {bad} wrong")
    write_json(
        json_path, {"wrong": bad, "findings": [asdict(finding) | {"wrong": finding.wrong} for finding in findings]}
    )
    if bad:
        raise typer.Exit(1)
