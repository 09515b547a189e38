"""``headwater rollback``: serve an earlier version again, at once and everywhere."""

from __future__ import annotations

from pathlib import Path

import typer

from exporters import announcements
from exporters.announcements import Announcement
from exporters.deltas import DEFAULT_MODEL
from exporters.errors import ExporterError
from exporters.publish import announcement_of
from exporters.registry import Registry
from streamer.announcing import announce
from streamer.errors import HeadwaterError
from streamer.settings import Settings


def command(
    model: str | None = typer.Argument(None, help="The model; student when absent."),
    name: str | None = typer.Option(None, "--name", help="The same, as `train` and `export` take it."),
    to: str | None = typer.Option(None, "--to", help="The version; the one before the present one when absent."),
    release: bool = typer.Option(False, "--release", help="Lift the pin instead, and serve the newest version again."),
    reason: str = typer.Option("", "--reason", help="Why; kept beside the pin and announced."),
    directory: Path | None = typer.Option(None, "--dir", help="The registry; stores.state_dir/models when absent."),
    quiet: bool = typer.Option(False, "--no-announce", help="Change the registry only; running servers are not told."),
    json_path: Path | None = typer.Option(None, "--json", help="Write what was announced here."),
) -> None:
    """Pin an earlier version: servers switch to it and ignore newer ones until `--release`."""
    if release and to is not None:
        raise HeadwaterError("--release goes to the newest version; give either --release or --to")
    settings, name = Settings(), model or name or DEFAULT_MODEL
    told = change(Registry(directory or settings.stores.models_dir), name, to=to, release=release, reason=reason)
    if json_path is not None:
        json_path.write_bytes(announcements.encode(told))
    typer.echo(f"{name}: {told.version} is {'served again, newer versions follow' if release else 'pinned'}")
    if not quiet:
        announce(told, settings.kafka.bootstrap_servers)
        typer.echo(f"announced on {settings.kafka.bootstrap_servers}: servers switch now")


def change(registry: Registry, name: str, *, to: str | None, release: bool, reason: str) -> Announcement:
    """Move the registry's pointer; returns what is to be announced.

    Raises
    ------
    HeadwaterError
        When there is no such version, or it is damaged; nothing has changed then.
    """
    try:
        pointer = registry.release(name) if release else registry.rollback(name, to, reason)
        kept = registry.manifest(name, pointer.version)
        return announcement_of(registry, kept, "released" if release else "rolled_back", reason)
    except ExporterError as error:
        raise HeadwaterError(str(error)) from error
