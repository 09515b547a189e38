"""``headwater serve``: the HTTP server with the live page."""

from __future__ import annotations

import asyncio

import typer
import uvicorn

from streamer import logs, serve
from streamer.settings import Settings


def command(
    host: str | None = typer.Option(None, help="Address to listen on; serving.host when absent."),
    port: int | None = typer.Option(None, help="Port; 0 picks a free one; serving.port when absent."),
    cold: bool = typer.Option(
        False, "--cold", envvar="HEADWATER_SERVE_COLD", help="Be ready before the first model: counting sources serve."
    ),
) -> None:
    """Serve rankings, take events, and show the live page at `/`.

    SIGTERM drains: not ready at once, then 503 for new requests, requests under way finish, impressions are flushed.
    SIGHUP reads the settings again.
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}

    def read() -> Settings:
        settings = Settings()
        return settings.model_copy(update={"serving": settings.serving.model_copy(update=given)})

    settings = read()
    logs.configure(settings.logs)
    running = serve.run(
        settings, cold=cold, on_address=lambda address: typer.echo(f"serving at {address}"), read_settings=read
    )
    # uvloop where it is installed: uvicorn chooses its loop only where it makes one itself
    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="auto").get_loop_factory()) as runner:
        runner.run(running)
