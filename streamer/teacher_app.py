"""The Faust app of ``headwater teach``."""

from __future__ import annotations

from typing import Any

from streamer import example_stream, topics
from streamer.example_stream import ExamplesApp
from streamer.faust_process import run_app
from streamer.settings import Settings
from streamer.teacher import MODEL
from streamer.teacher_process import TeacherProcess

GROUP = "headwater-teacher"


class TeacherApp(ExamplesApp):
    """The Faust app of ``headwater teach``."""

    process: TeacherProcess

    async def on_first_start(self) -> None:
        """Resume and connect before the first example is read."""
        await super().on_first_start()
        process = TeacherProcess(self.settings_of_headwater)
        await process.start()
        self.process = process

    async def on_stop(self) -> None:
        """Save and leave."""
        if hasattr(self, "process"):  # not where starting has failed
            await self.process.stop()
        await super().on_stop()


def create_app(settings: Settings) -> TeacherApp:
    """Build the Faust app; see :func:`streamer.workers.create_app` for why it acknowledges by hand."""
    app = TeacherApp(GROUP, **example_stream.options(settings, MODEL))
    app.settings_of_headwater = settings
    examples = app.topic(topics.EXAMPLES.name, key_type=bytes, value_type=bytes)
    sizes = settings.teacher

    async def label(stream: Any) -> None:
        async for batch in stream.noack_take(sizes.batch_examples, within=sizes.batch_within_seconds):
            try:
                await app.process.handle(batch, app.seek, app.end)
            except Exception as error:  # going on would pass by this batch
                await app.crash(error)
                raise

    app.agent(examples, name="label", concurrency=1)(label)
    return app


def run(settings: Settings, log_level: str = "WARNING") -> None:
    """Run the teacher in the foreground until SIGTERM or SIGINT; ends the process."""
    run_app(create_app, settings, log_level)
