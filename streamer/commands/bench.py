"""``headwater bench``: how fast the parts are on this machine."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from streamer.commands.reporting import progress_bar, write_json
from streamer.evaluation.data import load
from streamer.learning_bench import FORMS, LearningSpeed, measure
from streamer.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Measure the parts on this machine.")


@app.callback()
def bench() -> None:
    """Measure the parts on this machine."""


@app.command()
def learn(
    dataset: str = typer.Option("ml-1m", help="A known data set, a file of events or the simulator."),
    limit: int | None = typer.Option(None, min=1, help="Only the earliest events, so many."),
    threads: int = typer.Option(2, min=1, help="Threads of torch."),
    dimension: int = typer.Option(64, min=2, help="D of the SASRec."),
    layers: int = typer.Option(2, min=1, help="Its blocks."),
    history: int = typer.Option(50, min=2, help="Events that it reads."),
    seed: int = typer.Option(0, help="Seed of the learner."),
    plain: bool = typer.Option(True, help="Also the plain form, in which each event brings its own padded history."),
    seconds: float = typer.Option(600.0, help="Stop each form after so long."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Learn a stream with an online SASRec, test then train, and count events a second."""
    data, console = load(dataset, Settings().data, limit), Console()
    found = []
    for form in list(FORMS) if plain else list(FORMS)[:1]:
        with progress_bar(form, len(data.log)) as bar:
            sizes = {"dimension": dimension, "layers": layers, "history": history}
            given = {"threads": threads, "seed": seed, "most_seconds": seconds, "progress": bar.advance}
            found.append(measure(data.log, form, **sizes, **given))  # type: ignore[arg-type]
    console.print(_table(f"{data.name}, D {dimension}, {layers} blocks, T {history}, {threads} threads", found))
    write_json(
        json_path,
        {
            "dataset": data.name,
            "digest": data.log.digest(),
            "threads": threads,
            "seed": seed,
            "dimension": dimension,
            "layers": layers,
            "history": history,
            "forms": {speed.name: _figures(speed) for speed in found},
        },
    )


def _figures(speed: LearningSpeed) -> dict[str, float]:
    return {
        "events": speed.events,
        "learn_seconds": speed.learn_seconds,
        "learnt_per_second": speed.learnt_per_second,
        "tested_and_learnt_per_second": speed.tested_and_learnt_per_second,
        **speed.metrics,
    }


def _table(title: str, found: list[LearningSpeed]) -> Table:
    table = Table(title=title)
    for heading in ("form", "events", "learnt/s", "tested and learnt/s", "hr@10", "untied", "ndcg@10"):
        table.add_column(heading, justify="left" if heading == "form" else "right")
    for speed in found:
        rates = (speed.learnt_per_second, speed.tested_and_learnt_per_second)
        quality = (speed.metrics.get(name) for name in ("hr@10", "hr@10_untied", "ndcg@10"))
        table.add_row(
            speed.name,
            f"{speed.events:,}",
            *(f"{rate:,.0f}" for rate in rates),
            *("-" if value is None else f"{value:.4f}" for value in quality),
        )
    return table
