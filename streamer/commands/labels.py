"""``headwater labels``: write the teacher's soft labels to the label store, or say what lies there."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from streamer import metrics, topics
from streamer.commands.reporting import write_json
from streamer.label_process import LabelProcess, examples_of_last_hour
from streamer.label_store import LabelStore
from streamer.settings import Settings

_log = logging.getLogger(__name__)


def command(
    stats: bool = typer.Option(False, "--stats", help="Print what lies in the store, and leave."),
    json_path: Path | None = typer.Option(None, "--json", help="With --stats: write it as JSON here."),
    log_level: str = typer.Option("WARNING", "--log-level", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Follow the soft labels' topic and keep it as Parquet: write, compact, expire; until SIGTERM.

    One such process runs at a time; any number of students reads what it writes. It goes on where the files end, so a
    kill costs nothing. Settings: labels.*, stores.state_dir.
    """
    logging.basicConfig(level=log_level.upper())
    settings = Settings()
    if stats:
        _report(settings, json_path)
        return
    topics.create_topics(settings)
    process = LabelProcess(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.stopping.set())
    try:
        _log.info("metrics at http://localhost:%d/metrics", metrics.start(settings.metrics_port))
        process.run()
    finally:
        process.close()


def _report(settings: Settings, json_path: Path | None) -> None:
    now_ms = time.time_ns() // 1_000_000
    found = LabelStore(settings.stores.labels_dir).stats(now_ms)
    examples = examples_of_last_hour(settings, now_ms)
    coverage = min(found.recent / examples, 1.0) if examples else None
    shown: dict[str, Any] = {
        **asdict(found),
        "bytes_per_label": round(found.bytes_per_label, 1),
        "examples_of_last_hour": examples,
        "coverage_of_last_hour": coverage,
    }
    for name, value in shown.items():
        typer.echo(f"{name.replace('_', ' '):24} {_readable(value)}")
    write_json(json_path, shown)


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count:,}" for name, count in sorted(value.items())) or "none"
    if value is None:
        return "not known: no broker answers, or it has no examples"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
