"""``headwater serve``: the HTTP server with the live page."""

from __future__ import annotations

import asyncio
import logging

import typer

from streamer import serve
from streamer.settings import Settings


def command(
    host: str | None = typer.Option(None, help="Address to listen on; serving.host when absent."),
    port: int | None = typer.Option(None, help="Port; 0 picks a free one; serving.port when absent."),
    cold: bool = typer.Option(
        False, "--cold", envvar="HEADWATER_SERVE_COLD", help="Be ready before the first model: counting sources serve."
    ),
) -> None:
    """Serve rankings, take events, and show the live page at `/`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"serving": settings.serving.model_copy(update=given)})
    asyncio.run(serve.run(settings, cold=cold, on_address=lambda address: typer.echo(f"serving at {address}")))
