"""``headwater rollback``: serve an earlier version again, at once and everywhere."""

from __future__ import annotations

from pathlib import Path

import typer

from exporters import announcements
from exporters.deltas import DEFAULT_MODEL
from exporters.registry import Registry
from streamer import rollbacks
from streamer.announcing import announce
from streamer.errors import HeadwaterError
from streamer.settings import Settings


def command(
    model: str | None = typer.Argument(None, help="The model; student when absent."),
    name: str | None = typer.Option(None, "--name", help="The same, as `train` and `export` take it."),
    to: str | None = typer.Option(None, "--to", help="The version; the one before the present one when absent."),
    release: bool = typer.Option(False, "--release", help="Lift pin and hold, and serve the newest again."),
    hold: bool = typer.Option(False, "--hold", help="Put publishing on hold: the trainer learns on, nothing goes out."),
    reason: str = typer.Option("", "--reason", help="Why; kept beside the pin and announced."),
    directory: Path | None = typer.Option(None, "--dir", help="The registry; stores.state_dir/models when absent."),
    quiet: bool = typer.Option(False, "--no-announce", help="Change the registry only; running servers are not told."),
    json_path: Path | None = typer.Option(None, "--json", help="Write what was announced here."),
) -> None:
    """Pin an earlier version: servers switch to it and ignore newer ones until `--release`."""
    if release and to is not None:
        raise HeadwaterError("--release goes to the newest version; give either --release or --to")
    settings, name = Settings(), model or name or DEFAULT_MODEL
    registry = Registry(directory or settings.stores.models_dir)
    if hold:
        _hold(registry, name, to=to, release=release, reason=reason)
        return
    if release:
        registry.lift(name)
    told = rollbacks.move(registry, name, to=to, release=release, reason=reason)
    if json_path is not None:
        json_path.write_bytes(announcements.encode(told))
    typer.echo(f"{name}: {told.version} is {'served again, newer versions follow' if release else 'pinned'}")
    if not quiet:
        announce(told, settings.kafka.bootstrap_servers)
        typer.echo(f"announced on {settings.kafka.bootstrap_servers}: servers switch now")


def _hold(registry: Registry, name: str, *, to: str | None, release: bool, reason: str) -> None:
    if release or to is not None:
        raise HeadwaterError("--hold leaves the served version as it is; give it without --to and --release")
    registry.hold(name, reason)
    typer.echo(f"{name}: publishing is on hold; `headwater rollback {name} --release` ends it")
