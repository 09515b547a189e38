"""What commands that measure or take long share: a progress bar and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def write_json(path: Path | None, values: dict[str, Any]) -> None:
    """Write ``--json PATH`` where it was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=2, default=str) + "\n")


class Bar:
    """A progress bar that is told how many more are done."""

    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)
        self._waiting = 0

    def advance(self, count: int) -> None:
        """Count; drawn every 256th time, so that it costs nothing."""
        self._waiting += count
        if self._waiting >= 256:
            self.draw()

    def draw(self) -> None:
        """Draw what was counted."""
        self._progress.advance(self._task, self._waiting)
        self._waiting = 0


@contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Bar]:
    """Show a bar on standard error for the length of the ``with`` block."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = Bar(progress, label, total)
        try:
            yield bar
        finally:
            bar.draw()
