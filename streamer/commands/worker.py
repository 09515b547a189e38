"""``headwater worker``: run a stream worker."""

from __future__ import annotations

import typer

from streamer.settings import Settings


def command(
    log_level: str = typer.Option("WARNING", "--log-level", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Turn events into sessions, labelled examples, online features and the event log; until SIGTERM.

    Any number of workers share the partitions of the events topic. All workers of one machine share one state folder.
    """
    from streamer.workers import run  # Faust takes a second to import; --help does not need it

    run(Settings(), log_level.upper())
