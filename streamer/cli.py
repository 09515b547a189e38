"""The ``headwater`` command: a table of commands, each imported only when it is used.

A command is a module of :mod:`streamer.commands` with an ``app`` (a :class:`typer.Typer`) or a function ``command``.
Whatever is expected to go wrong raises :class:`~streamer.errors.HeadwaterError`; the user reads its message, not a
traceback.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module, metadata
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from streamer.errors import HeadwaterError

# Threads of PyTorch that wait must sleep: where other processes share the cores, spinning takes 20 times the time of
# the work. Read when PyTorch is first imported, which no line above does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {
    "demo": "Run everything on this machine, fed by a data set or the simulator, with a live page.",
    "topics": "Create the topics with their settings, or list them.",
    "worker": "Run a stream worker: sessions, features, examples, event log.",
    "train": "Run the trainer: learn from the examples and publish weights.",
    "labels": "Run the label store: keep the teacher's soft labels as Parquet, or say what lies there.",
    "teach": "Run the teacher: label the examples for the students, refresh on a sliding window.",
    "foundation": "Run the foundation model: refresh it from the event log and publish users and items.",
    "serve": "Run the HTTP server.",
    "validate": "Check event files before they are published.",
    "publish": "Publish event files: JSONL, CSV or Parquet.",
    "replay": "Replay a data set as a stream.",
    "evaluate": "Measure models on a data set by one protocol, beside baselines.",
    "bench": "Measure the parts on this machine.",
    "watch": "Follow drift alarms and the actions on them; take an action back.",
    "dead-letter": "Look at what could not be read, and replay it.",
    "models": "List the published versions.",
    "rollback": "Serve an earlier version again.",
    "export": "Write the served model as ONNX files into a folder.",
    "doctor": "Say what is wrong with this set-up, and the mend.",
    "backup": "Write the online state into one archive, while everything runs.",
    "restore": "Bring an archive's state back into an empty folder.",
}


def load(name: str) -> Any:
    """Import one command.

    Parameters
    ----------
    name
        A key of ``COMMANDS``; its module has the same name with ``_`` for ``-``.

    Returns
    -------
    Any
        The command, ready for the group. Typer has its own copy of click in some versions, hence no narrower type.

    Raises
    ------
    ModuleNotFoundError
        If the module, or something that it needs, is not installed.
    """
    module = import_module("streamer.commands." + name.replace("-", "_"))
    parent = typer.Typer(add_completion=False)
    if not hasattr(module, "app"):
        parent.command(name)(module.command)
        return typer.main.get_command(parent)
    parent.add_typer(module.app, name=name)
    group: Any = typer.main.get_command(parent)
    return group.commands[name]


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and help by heart and imports the one that is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give a command as the help page needs it: its name and its line of help."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return (name, load(name), rest) if command is not None and name is not None else (name, command, rest)


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_show_locals=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headwater {metadata.version('headwater')}")
        raise typer.Exit


@app.callback(help="A recommender that learns from the stream.")
def headwater(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Read the options of the group itself."""


def main() -> None:
    """Run the command line; errors that Headwater raises on purpose end it with their message and status 1."""
    try:
        app()
    except HeadwaterError as error:
        typer.echo(f"headwater: {error}", err=True)
        sys.exit(1)
