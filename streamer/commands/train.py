"""``headwater train``: run the trainer."""

from __future__ import annotations

import typer

from streamer.settings import Settings


def command(
    log_level: str = typer.Option("WARNING", "--log-level", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Learn from the examples and publish weights; until SIGTERM.

    One trainer runs at a time. It resumes from its latest snapshot, and publishes changed rows every half second and
    the dense part every few seconds (settings ``learning.*``).
    """
    from streamer.trainer import run  # Faust and torch take seconds to import; --help does not need them

    run(Settings(), log_level.upper())
