"""How a server ends: SIGTERM drains it, SIGINT drains it without a lame-duck time, a second signal ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from exporters.lifecycle import Grace, Lifecycle

_log = logging.getLogger(__name__)
_KEEP_ALIVE_SECONDS = 75  # longer than a balancer keeps its connections, so that not we close one that is in use


class Uvicorn(uvicorn.Server):
    """A uvicorn that leaves signals to :class:`Ending`.

    Its own handler closes the port at once, and raises the signal again at the end, so that the process would not
    leave with status 0.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def http_server(app: FastAPI, drain_seconds: float) -> Uvicorn:
    """Make the HTTP server of an application."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    return Uvicorn(config)


class Ending:
    """Ends a server once, when a signal asks for it.

    Parameters
    ----------
    server
        What is ended.
    lifecycle
        What readiness and the front door go by.
    grace
        How long each step may take; asked for when the signal comes, so that a reload counts.
    """

    def __init__(self, server: uvicorn.Server, lifecycle: Lifecycle, grace: Callable[[], Grace]) -> None:
        self._server, self._lifecycle, self._grace = server, lifecycle, grace
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def on_signals(self, reload: Callable[[], None]) -> Iterator[None]:
        """Act on SIGTERM and SIGINT, and reload on SIGHUP, as long as this lasts."""
        loop = asyncio.get_running_loop()
        acts: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self.ask(patient=True),
            signal.SIGINT: lambda: self.ask(patient=False),
            signal.SIGHUP: reload,
        }
        for number, act in acts.items():
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            for number in acts:
                loop.remove_signal_handler(number)

    def ask(self, *, patient: bool) -> None:
        """Begin to end; asked a second time, end without waiting for anybody.

        Parameters
        ----------
        patient
            Go on answering for the lame-duck time first.
        """
        if self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            return
        grace = self._grace()
        self._task = asyncio.create_task(self._end(grace if patient else replace(grace, lame_duck_seconds=0.0)))

    async def _end(self, grace: Grace) -> None:
        _log.info("asked to end: not ready from now on, refusing in %g s", grace.lame_duck_seconds)
        left = await self._lifecycle.drain(grace)
        if left:
            _log.warning("%d requests were still under way after %g s", left, grace.drain_seconds)
        self._server.should_exit = True
