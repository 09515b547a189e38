"""The Faust app of ``headwater teach``."""

from __future__ import annotations

from streamer import example_stream
from streamer.example_stream import ExamplesApp
from streamer.faust_process import run_app
from streamer.settings import Settings
from streamer.teacher import MODEL
from streamer.teacher_process import TeacherProcess

GROUP = "headwater-teacher"


def create_app(settings: Settings) -> ExamplesApp:
    """Build the Faust app of the teacher."""
    sizes = settings.teacher
    return example_stream.create_app(
        settings,
        TeacherProcess,
        group=GROUP,
        name=MODEL,
        batch_examples=sizes.batch_examples,
        within_seconds=sizes.batch_within_seconds,
    )


def run(settings: Settings, log_level: str = "WARNING") -> None:
    """Run the teacher in the foreground until SIGTERM or SIGINT; ends the process."""
    run_app(create_app, settings, log_level)
