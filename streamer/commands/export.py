"""``headwater export``: a published version as files of its own, checked and tried."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console

from exporters import manifest
from exporters.errors import ExporterError
from exporters.manifest import Manifest
from exporters.registry import Registry
from exporters.runtime import RankerSession
from streamer.errors import HeadwaterError
from streamer.settings import Settings
from streamer.wide_table import WideTable


def command(
    folder: Path = typer.Argument(..., help="Where the files go; created when it is missing."),
    name: str = typer.Option("student", "--name", help="The model."),
    version: str | None = typer.Option(None, "--version", help="The version; the one that serves when absent."),
    directory: Path | None = typer.Option(None, "--dir", help="The registry; stores.state_dir/models when absent."),
    json_path: Path | None = typer.Option(None, "--json", help="Write what was exported as JSON here too."),
) -> None:
    """Copy a version's ONNX graphs, tables and manifest into a folder, after a check that ONNX Runtime opens them."""
    registry = Registry(directory or Settings().stores.models_dir)
    try:
        chosen = registry.verify(name, version or serving(registry, name))
        report = write(registry, chosen, folder)
    except ExporterError as error:
        raise HeadwaterError(str(error)) from error
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    Console().print(table(report))


def serving(registry: Registry, name: str) -> str:
    """Name the version that serves.

    Raises
    ------
    HeadwaterError
        When nothing is published under the name.
    """
    pointer = registry.current(name)
    if pointer is None:
        known = ", ".join(registry.names()) or "none"
        raise HeadwaterError(f"nothing is published under {name!r} in {registry.directory}; models there: {known}")
    return pointer.version


def write(registry: Registry, chosen: Manifest, folder: Path) -> dict[str, Any]:
    """Copy a version that was verified; returns its graphs with their inputs and outputs."""
    source = registry.folder(chosen.name, chosen.version)
    sessions = {name: RankerSession(source / info.file) for name, info in chosen.graphs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*chosen.files, manifest.FILE):
        shutil.copyfile(source / file, folder / file)
    graphs = {
        name: {
            "file": chosen.graphs[name].file,
            "inputs": {key: list(shape) for key, shape in session.inputs.items()},
            "outputs": list(session.outputs),
        }
        for name, session in sessions.items()
    }
    return {"name": chosen.name, "version": chosen.version, "folder": str(folder), "graphs": graphs}


def table(report: dict[str, Any]) -> WideTable:
    """Lay the graphs out for a terminal."""
    headings = ("graph", "file", "inputs", "outputs")
    drawn = WideTable(f"{report['name']} {report['version']}", headings, text=headings)
    for name, graph in report["graphs"].items():
        inputs = "\n".join(f"{key} {shape}" for key, shape in graph["inputs"].items())
        drawn.add_row(name, graph["file"], inputs, "\n".join(graph["outputs"]))
    return drawn
