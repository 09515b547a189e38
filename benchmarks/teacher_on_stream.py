"""What the teacher is worth to the served student, on the same stream: labels, refreshes and students as they run.

    python benchmarks/teacher_on_stream.py --dataset ml-100k --events 20000 --seeds 0,1,2 --json teacher.json

Events go through the worker's sessions and joins, every example to the teacher (:mod:`streamer.teacher`) and to the
student (:mod:`streamer.student`), in one process and without a broker. Labels reach the student a micro-batch late.
Beside each student its twin learns the same batches in the same steps by hard labels alone; the gain is the difference
between the two. Hit rates are those of the item taken among what serving would have offered, test then learn, over the
last 80 % of the examples.

Rows: a method (`auxiliary`, `direct`, `ranking`), a teacher's width (`1x` … `8x`) and how it is refreshed
(`refreshed` every ``--refresh`` examples, `frozen` after the warm-up, `start`: never, the blend that it starts as).
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from streamer.examples import Example
from streamer.in_process import InProcess
from streamer.prequential import Prequential
from streamer.settings import Settings
from streamer.sources import open_source
from streamer.student import Student
from streamer.teacher import Teacher
from streamer.teacher_labels import Received

WARM_UP = 0.2
EVERYTHING = 10**9  # examples: the window of the counted figures


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run: how the student learns, and from whom."""

    method: str = "auxiliary"
    scale: int = 2
    schedule: str = "refreshed"

    @classmethod
    def parse(cls, text: str) -> Row:
        """Read `method:4x:schedule`; what is left out is as in the demo.

        >>> Row.parse("direct:4x")
        Row(method='direct', scale=4, schedule='refreshed')
        """
        parts = text.split(":")
        scale = int(parts[1].rstrip("x")) if len(parts) > 1 else 2
        return cls(method=parts[0], scale=scale, schedule=parts[2] if len(parts) > 2 else "refreshed")

    def __str__(self) -> str:
        """Write the form that :meth:`parse` reads."""
        return f"{self.method}:{self.scale}x:{self.schedule}"


class Recorded(InProcess):
    """The loop, which only writes down the examples: they are the same whoever learns them."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder)
        self.examples: list[Example] = []

    def _learn(self, batch: list[Example]) -> None:
        self.examples += batch


def examples_of(dataset: str, events: int, settings: Settings) -> list[Example]:
    """Let the events happen; returns the examples that the worker makes of them."""
    source = open_source(dataset, settings.data, events)
    with tempfile.TemporaryDirectory() as folder:
        loop = Recorded(settings, Path(folder))
        for event in source.events():
            loop.take(event)
        loop.close()
    return loop.examples


def batches(examples: list[Example], size: int) -> Iterator[list[Example]]:
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def run(row: Row, examples: list[Example], settings: Settings, refresh_every: int) -> dict[str, float]:
    """Let student and teacher walk the stream; returns what is printed."""
    settings = settings.model_copy(deep=True)
    settings.learning.distillation = row.method  # type: ignore[assignment]
    settings.learning.hard_twin = True
    settings.labels.staleness_seconds = 1e10  # events of long ago are published now
    settings.teacher.scale, settings.teacher.window_examples = row.scale, 4 * refresh_every
    with tempfile.TemporaryDirectory() as folder:
        settings.stores.state_dir = Path(folder)
        return _walk(row, examples, settings, refresh_every)


def _walk(row: Row, examples: list[Example], settings: Settings, refresh_every: int) -> dict[str, float]:
    student, teacher = Student(settings), Teacher(settings)
    student.tested_every = 1
    clock = {"label": 0.0, "refresh": 0.0, "learn": 0.0}
    late, done, since, counted = list[Any](), 0, 0, False
    for batch in batches(examples, settings.learning.batch_examples):
        if not counted and done >= WARM_UP * len(examples):
            counted, student.prequential, teacher.quality = True, Prequential(EVERYTHING), Prequential(EVERYTHING)
        started = time.process_time()
        labels = teacher.take([Received(0, done + place, example) for place, example in enumerate(batch)])
        clock["label"] += time.process_time() - started
        started = time.process_time()
        assert student.soft is not None
        student.learn(batch)
        student.distill()
        student.soft.held.add(late)
        late = labels
        clock["learn"] += time.process_time() - started
        done, since = done + len(batch), since + len(batch)
        warm = done >= WARM_UP * len(examples)
        if since >= refresh_every and (row.schedule == "refreshed" or (row.schedule == "frozen" and not warm)):
            started, since = time.process_time(), 0
            teacher.adopt(teacher.begin_refresh()())
            clock["refresh"] += time.process_time() - started
    return {**_figures(student, teacher), **{f"{name} ms": 1e3 * spent / done for name, spent in clock.items()}}


def _figures(student: Student, teacher: Teacher) -> dict[str, float]:
    found = student.prequential.read()
    own = Prequential.read(teacher.quality)
    figures = {f"student {metric}": found[metric] for metric in ("hr@10", "ndcg@10")}
    for metric in ("hr@10", "ndcg@10"):
        figures[f"hard {metric}"] = found[f"hard_only_{metric}"]
        figures[f"gain {metric}"] = found[metric] - found[f"hard_only_{metric}"]
        figures[f"teacher {metric}"] = own[metric]
    assert student.soft is not None
    joined = student.soft.figures
    return {**figures, "teacher versions": float(teacher.number), "joined": float(joined.joined)}


def show(found: dict[str, list[dict[str, float]]], console: Console) -> None:
    names = list(next(iter(found.values()))[0])
    table = Table("row", *names)
    for row, runs in found.items():
        table.add_row(row, *(_mean([one[name] for one in runs]) for name in names))
    console.print(table)


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main(
    dataset: Annotated[str, typer.Option(help="A data set, the simulator, or an event file.")] = "ml-100k",
    events: Annotated[int, typer.Option(help="The earliest so many events.")] = 20_000,
    rows: Annotated[str, typer.Option(help="METHOD:WIDTH:SCHEDULE with commas between.")] = "auxiliary,direct,ranking",
    seeds: Annotated[str, typer.Option(help="Seeds with commas between.")] = "0",
    weight: Annotated[float, typer.Option(help="Of the soft loss beside the hard one.")] = 1.0,
    refresh: Annotated[int, typer.Option(help="Examples from one refresh to the next.")] = 1_000,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures of all runs to this file.")] = None,
) -> None:
    """Walk the stream once for each row and seed."""
    torch.set_num_threads(threads)
    settings, console = Settings(), Console(width=200)
    settings.learning.distillation_weight = weight
    examples = examples_of(dataset, events, settings)
    console.print(f"{dataset}: {len(examples):,} examples")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in (int(text) for text in seeds.split(",")):
        for row in (Row.parse(text) for text in rows.split(",")):
            settings.learning.seed = 7 + seed
            found.setdefault(str(row), []).append(run(row, examples, settings, refresh))
            last = found[str(row)][-1]
            console.print(f"seed {seed}, {row}: gain in NDCG@10 {last['gain ndcg@10']:+.4f}")
            if report is not None:
                report.write_text(json.dumps({"dataset": dataset, "events": events, "rows": found}, indent=2) + "\n")
    show(found, console)


if __name__ == "__main__":
    typer.run(main)
