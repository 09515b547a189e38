"""What the teacher is worth to the served student, on the same stream: labels, refreshes and students as they run.

    python benchmarks/teacher_on_stream.py --dataset ml-100k --events 20000 --seeds 0,1,2 --json teacher.json

Events go through the worker's sessions and joins, every example to the teacher (:mod:`streamer.teacher`) and to the
students (:mod:`streamer.student`), in one process and without a broker. Labels reach them a micro-batch late. Beside
each student its twin learns the same batches by hard labels alone; the gain is the difference between the two. Hit
rates are those of the item taken among what serving would have offered, test then learn, over the last 80 % of the
examples.

Rows: a method (`auxiliary`, `direct`, `ranking`), a teacher's width (`1x` … `8x`) and how it learns: `learning` (each
micro-batch after it has labelled it), `both` (that, and a refresh every ``--refresh`` examples), `refreshed` (these
alone), `frozen` (these, until the warm-up is over), `start` (never: the blend that it starts as). Students of one
teacher are joined: `direct+auxiliary:2x:learning`; `none` is the teacher alone.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from streamer.examples import Example
from streamer.in_process import InProcess
from streamer.prequential import Prequential
from streamer.settings import Settings
from streamer.soft_labels import SoftLabel
from streamer.sources import open_source
from streamer.student import Student
from streamer.teacher import Teacher
from streamer.teacher_labels import Received

WARM_UP = 0.2
LEARNING = ("learning", "both")
EVERYTHING = 10**9  # examples: the window of the counted figures


@dataclass(frozen=True, kw_only=True)
class Row:
    """One walk: how the students learn, joined by `+`, and from whom; `none` is the teacher alone."""

    method: str = "auxiliary"
    scale: int = 2
    schedule: str = "learning"

    def students(self) -> list[str]:
        """Return the methods of the students."""
        return [] if self.method == "none" else self.method.split("+")

    def names(self) -> list[str]:
        """Return a name for each student, or that of the teacher alone."""
        return [f"{method}:{self.scale}x:{self.schedule}" for method in self.students() or ["none"]]

    def refreshes(self, warm: bool) -> bool:
        """Whether there is a refresh once its examples have come, before or after the warm-up."""
        return self.schedule in ("refreshed", "both") or (self.schedule == "frozen" and not warm)

    @classmethod
    def parse(cls, text: str) -> Row:
        """Read `method:4x:schedule`; what is left out is as in the demo.

        >>> Row.parse("direct:4x")
        Row(method='direct', scale=4, schedule='learning')
        """
        parts = text.split(":")
        scale = int(parts[1].rstrip("x")) if len(parts) > 1 else 2
        return cls(method=parts[0], scale=scale, schedule=parts[2] if len(parts) > 2 else "learning")


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


def run(row: Row, examples: list[Example], settings: Settings, refresh_every: int) -> Iterator[dict[str, float]]:
    """Let the students and their teacher walk the stream; yields what is printed, one dict for each method."""
    settings = settings.model_copy(deep=True)
    settings.learning.hard_twin = True
    settings.labels.staleness_seconds = 1e10  # events of long ago are published now
    settings.teacher.scale, settings.teacher.window_examples = row.scale, 4 * refresh_every
    settings.teacher.learns = row.schedule in LEARNING
    with tempfile.TemporaryDirectory() as folder:
        settings.stores.state_dir = Path(folder)
        teacher, students = Teacher(settings), [_student(settings, method) for method in row.students()]
        clock = _walk(row, examples, teacher, students, refresh_every)
    learners: list[Student | None] = [*students]
    for student in learners or [None]:
        yield {
            **_figures(student, teacher),
            **{f"{name} ms": 1e3 * spent / len(examples) for name, spent in clock.items()},
        }


def _student(settings: Settings, method: str) -> Student:
    settings = settings.model_copy(deep=True)
    settings.learning.distillation = method  # type: ignore[assignment]
    student = Student(settings)
    student.tested_every = 1
    return student


def _walk(
    row: Row, examples: list[Example], teacher: Teacher, students: list[Student], refresh_every: int
) -> dict[str, float]:
    """Test and learn from the first example to the last; returns the seconds of CPU by what they were spent on."""
    clock = {"teacher": 0.0, "refresh": 0.0, "students": 0.0}
    late, done, since, counted = list[SoftLabel](), 0, 0, False
    for batch in batches(examples, teacher.settings.learning.batch_examples):
        warm = done >= WARM_UP * len(examples)
        if warm and not counted:
            counted, teacher.quality = True, Prequential(EVERYTHING)
            for student in students:
                student.prequential = Prequential(EVERYTHING)
        with _timed(clock, "teacher"):
            labels = teacher.take([Received(0, done + place, example) for place, example in enumerate(batch)])
        with _timed(clock, "students"):
            for student in students:
                _learn(student, batch, late)
        late, done, since = labels, done + len(batch), since + len(batch)
        if since >= refresh_every and row.refreshes(warm):
            since = 0
            with _timed(clock, "refresh"):
                teacher.adopt(teacher.begin_refresh()())
    return clock


def _learn(student: Student, batch: list[Example], late: list[SoftLabel]) -> None:
    """Learn a batch by its hard labels, one before it by its soft ones, and get those of the last."""
    assert student.soft is not None
    student.learn(batch)
    student.distill()
    student.soft.held.add(late)


@contextmanager
def _timed(clock: dict[str, float], name: str) -> Iterator[None]:
    started = time.process_time()
    yield
    clock[name] += time.process_time() - started


def _figures(student: Student | None, teacher: Teacher) -> dict[str, float]:
    """Hit rates of a student, its twin and the teacher; of the teacher alone where there is no student."""
    figures: dict[str, float] = {}
    own, found = teacher.quality.read(), {} if student is None else student.prequential.read()
    for metric in ("hr@10", "ndcg@10"):
        if student is not None:
            figures[f"student {metric}"] = found[metric]
            figures[f"hard {metric}"] = found[f"hard_only_{metric}"]
            figures[f"gain {metric}"] = found[metric] - found[f"hard_only_{metric}"]
            figures[f"of teacher {metric}"] = found[metric] / own[metric]
        figures[f"teacher {metric}"] = own[metric]
    figures |= {"teacher versions": float(teacher.number), "refreshes": float(teacher.refreshes)}
    if student is not None and student.soft is not None:
        figures["joined"] = float(student.soft.figures.joined)
    return figures


def show(found: dict[str, list[dict[str, float]]], console: Console) -> None:
    names = max((list(runs[0]) for runs in found.values()), key=len)
    table = Table("row", *names)
    for row, runs in found.items():
        table.add_row(row, *(_mean([one[name] for one in runs if name in one]) for name in names))
    console.print(table)


def _mean(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main(
    dataset: Annotated[str, typer.Option(help="A data set, the simulator, or an event file.")] = "ml-100k",
    events: Annotated[int, typer.Option(help="The earliest so many events.")] = 20_000,
    rows: Annotated[
        str, typer.Option(help="METHOD+METHOD:WIDTH:SCHEDULE, commas between.")
    ] = "auxiliary+direct+ranking",
    seeds: Annotated[str, typer.Option(help="Seeds with commas between.")] = "0",
    weight: Annotated[float, typer.Option(help="Of the soft loss beside the hard one.")] = 1.0,
    satisfaction: Annotated[float, typer.Option(help="Weight of the teacher's satisfaction as a second task.")] = 0.0,
    refresh: Annotated[int, typer.Option(help="Examples from one refresh to the next.")] = 1_000,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures of all runs to this file.")] = None,
) -> None:
    """Walk the stream once for each row and seed."""
    torch.set_num_threads(threads)
    settings, console = Settings(), Console(width=200)
    settings.learning.distillation_weight, settings.learning.satisfaction_weight = weight, satisfaction
    examples = examples_of(dataset, events, settings)
    console.print(f"{dataset}: {len(examples):,} examples")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in (int(text) for text in seeds.split(",")):
        for row in (Row.parse(text) for text in rows.split(",")):
            settings.learning.seed = 7 + seed
            for name, figures in zip(row.names(), run(row, examples, settings, refresh), strict=True):
                found.setdefault(name, []).append(figures)
                quality = {key: round(value, 4) for key, value in figures.items() if "ndcg" in key}
                console.print(f"seed {seed}, {name}: {quality}")
            if report is not None:
                report.write_text(json.dumps({"dataset": dataset, "events": events, "rows": found}, indent=2) + "\n")
    show(found, console)


if __name__ == "__main__":
    typer.run(main)
