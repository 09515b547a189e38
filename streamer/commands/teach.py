"""``headwater teach``: run the teacher."""

from __future__ import annotations

import logging
import os

import typer

from streamer.settings import Settings

_PROCESS_LOGS = ("streamer.teacher_process", "streamer.teacher_reports")


def command(
    refresh: bool = typer.Option(False, "--refresh", help="Ask the running teacher for a refresh now, and leave."),
    log_level: str = typer.Option("WARNING", "--log-level", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Label the examples for the students, and learn each of them after that; until SIGTERM.

    The teacher is a model of the students' family, teacher.scale times as wide. It scores each example of
    headwater.examples once, before it has learnt from it, and writes its best items with their logits, the mass of the
    rest, and the logit of satisfaction to headwater.soft-labels, keyed by example id.

    It takes one step on every micro-batch that it has labelled (teacher.learns). A refresh comes when its own loss
    drifts up, when --refresh asks, or every teacher.refresh_seconds where that is set: a copy trains on the latest
    teacher.window_examples while labelling goes on, catches up, and takes over as the next version if it is not worse.

    One teacher runs at a time. It may be killed at any moment: every example gets one label, and a refresh that was cut
    off begins again. It is nice (teacher.nice) and uses teacher.threads threads. Settings: teacher.*.
    """
    settings = Settings()
    if refresh:
        from streamer.refresh_requests import ask_for_refresh

        ask_for_refresh(settings, "teacher")
        typer.echo("asked for a refresh of the teacher; its log and headwater.models say what came of it")
        return
    import torch  # takes seconds to import; --help does not need it

    from streamer.teacher_app import run

    os.nice(settings.teacher.nice)
    torch.set_num_threads(settings.teacher.threads)
    _show_progress()
    run(settings, log_level.upper())


def _show_progress() -> None:
    """Say what refreshes do, whatever the log level: they take minutes, and nothing else tells."""
    handler = logging.StreamHandler()  # of its own: Faust sets the level of the root's
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for name in _PROCESS_LOGS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
