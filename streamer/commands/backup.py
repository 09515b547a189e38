"""``headwater backup``: the online state as one archive."""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer

from streamer.commands.reporting import write_json
from streamer.settings import Settings


def command(
    archive: Path = typer.Argument(..., help="The file to write, for instance headwater.tar.gz."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the archive's manifest there too."),
) -> None:
    """Write session state, event log, labels, snapshots, registry and online store into one archive.

    The processes may run meanwhile. Each one's state is of one moment; after a restore each goes on from the offsets in
    its own state. The topics are not in it.
    """
    from streamer.backup.writing import back_up  # pulls in Feast and redis

    written = back_up(Settings(), archive)
    size = sum(file.bytes for file in written.files.values())
    typer.echo(f"{archive}: {len(written.files)} files, {size / 1e6:.1f} MB of state")
    for process, offsets in written.positions.items():
        typer.echo(f"  {process}: {msgspec.json.encode(offsets).decode()}")
    write_json(json_path, msgspec.to_builtins(written))
