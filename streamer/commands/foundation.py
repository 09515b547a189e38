"""``headwater foundation``: run the foundation model."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamer import metrics
from streamer.settings import Settings

_log = logging.getLogger(__name__)


def command(
    once: bool = typer.Option(False, "--once", help="Refresh once and leave; else again and again until SIGTERM."),
    json_path: Path | None = typer.Option(None, "--json", help="With --once: write what was done as JSON here."),
    log_level: str = typer.Option("WARNING", "--log-level", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Refresh the foundation model from the event log; publish users' and items' vectors.

    Users go to the feature store (view foundation_vector), items to the registry (model foundation, table
    foundation_item_vectors), both in the space that was published before. One such process runs at a time; it resumes
    from its latest snapshot. Settings: foundation.*.
    """
    import torch  # like Feast it takes seconds to import; --help does not need them

    from streamer.foundation import Foundation

    logging.basicConfig(level=log_level.upper())
    settings, console = Settings(), Console(stderr=True)
    torch.set_num_threads(settings.foundation.threads)
    with _bar(console) as advance:
        process = Foundation(settings, advance)
        try:
            process.resume()
            _stop_on_signals(process.stopping)
            if once:
                _report(process.run_once(), json_path)
            else:
                _log.info("metrics at http://localhost:%d/metrics", metrics.start(settings.metrics_port))
                process.run()
        finally:
            process.close()


def _stop_on_signals(stopping: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())


def _report(plotted: dict[str, float], json_path: Path | None) -> None:
    shown: dict[str, Any] = {name: round(value, 4) for name, value in plotted.items()}
    if json_path is not None:
        json_path.write_text(json.dumps(shown, indent=2) + "\n")
    for name, value in shown.items():
        typer.echo(f"{name:20} {value:,.4g}")


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for the step that runs, where somebody sits at a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading the log", total=None)

        def advance(what: str, done: int, steps: int) -> None:
            bar.update(task, description=what, completed=done, total=steps)

        yield advance
