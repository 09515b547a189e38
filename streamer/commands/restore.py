"""``headwater restore``: an archive's state into an empty folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from streamer.settings import Settings


def command(
    archive: Path = typer.Argument(..., help="What `headwater backup` wrote."),
    check: bool = typer.Option(False, "--check", help="Compare the checksums only; restore nothing."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace rows that Redis has."),
) -> None:
    """Bring the state back into `stores.state_dir`, which must be empty; every checksum is compared first.

    Stop the processes before, start them afterwards: each goes on from the offsets in its own state.
    """
    from streamer.backup.restoring import restore, unpack

    settings = Settings()
    if check:
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            found = unpack(archive, Path(folder))
        typer.echo(f"{archive} is whole: {len(found.files)} files")
        return
    found = restore(settings, archive, overwrite=overwrite)
    typer.echo(f"{settings.stores.state_dir}: {len(found.files)} files are back; start the processes")
