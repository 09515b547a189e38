"""``headwater models``: what is published, what serves, what is damaged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console

from exporters.errors import ExporterError
from exporters.registry import Registry
from streamer.errors import HeadwaterError
from streamer.settings import Settings
from streamer.wide_table import WideTable


def command(
    model: str | None = typer.Argument(None, help="Only this model."),
    name: str | None = typer.Option(None, "--name", help="The same, as `train` and `export` take it."),
    directory: Path | None = typer.Option(None, "--dir", help="The registry; stores.state_dir/models when absent."),
    check: bool = typer.Option(False, "--check", help="Check every file's checksum; exit 1 where one is damaged."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the list as JSON here too."),
) -> None:
    """List the published versions, newest first."""
    registry = Registry(directory or Settings().stores.models_dir)
    chosen = model or name
    try:
        listed = [
            entry for one in ([chosen] if chosen else registry.names()) for entry in entries(registry, one, check)
        ]
    except ExporterError as error:
        raise HeadwaterError(str(error)) from error
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(listed), indent=2))
    if listed:
        Console().print(table(listed))
        for line in holds(listed):
            typer.echo(line)
    else:
        typer.echo(f"Nothing is published in {registry.directory}. `headwater train` publishes.")
    if check and any(entry["state"].startswith("damaged") for entry in listed):
        raise typer.Exit(1)


def entries(registry: Registry, name: str, check: bool = False) -> list[dict[str, Any]]:
    """Describe the versions of a model, newest first.

    Parameters
    ----------
    registry
        Where they lie.
    name
        The model.
    check
        Read every file and compare its checksum.
    """
    pointer, held, trial = registry.current(name), registry.held(name), registry.trial(name)
    found = []
    for version in reversed(registry.versions(name)):
        entry: dict[str, Any] = {"name": name, "version": version, "state": ""}
        try:
            manifest = registry.verify(name, version) if check else registry.manifest(name, version)
            entry |= {
                key: getattr(manifest, key) for key in ("created_ms", "step", "metrics", "parity", "offsets", "gate")
            }
        except ExporterError as error:
            entry["state"] = f"damaged: {error}"
        if pointer is not None and pointer.version == version:
            entry["state"] = entry["state"] or ("pinned" if pointer.pinned else "serving")
            entry["reason"] = pointer.reason
        if trial is not None and trial.version == version and not entry["state"].startswith("damaged"):
            entry["state"] = f"canary: {trial.share:.0%} of the users"
        if trial is not None and trial.stable == version and not entry["state"]:
            entry["state"] = "serving the others"
        if held is not None:
            entry["on_hold"] = {"reason": held.reason, "since_ms": held.time_ms}
        found.append(entry)
    return found


def holds(listed: list[dict[str, Any]]) -> list[str]:
    """Describe the models whose publishing is on hold, a line each."""
    held = {entry["name"]: entry["on_hold"] for entry in listed if "on_hold" in entry}
    return [
        f"{name}: publishing is on hold since {_time(hold['since_ms'])} UTC ({hold['reason'] or 'no reason given'});"
        f" `headwater rollback {name} --release` ends it"
        for name, hold in held.items()
    ]


def table(listed: list[dict[str, Any]]) -> WideTable:
    """Lay the versions out for a terminal."""
    headings = ("model", "version", "state", "published (UTC)", "step", "parity", "metrics")
    drawn = WideTable("", headings, keys=2, text=("state", "published (UTC)", "metrics"))
    for entry in listed:
        parity = max(entry.get("parity", {}).values(), default=None)
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in entry.get("metrics", {}).items())
        told = "" if parity is None else f"{parity:.1e}"
        step = str(entry.get("step", ""))
        drawn.add_row(entry["name"], entry["version"], entry["state"], _moment(entry), step, told, metrics)
    return drawn


def _moment(entry: dict[str, Any]) -> str:
    if "created_ms" not in entry:
        return ""
    return _time(entry["created_ms"])


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
