"""What an int8 student costs and gains: its ranking and its speed beside float32, on a stream, test then learn.

    python benchmarks/int8_student.py --dataset ml-100k --events 6000 --families session,caser

A student learns as it does in the trainer. Every ``--publish`` micro-batches its ranking graph is exported in float32
and quantised as the publisher does; the examples of the next micro-batch, which neither has seen, are ranked by both.
Speed is that of one request with 500 candidates on one thread, both forms in turn.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from teacher_on_stream import batches, examples_of

from exporters.architectures import Architectures, architecture_key
from exporters.gate import RecentExamples, ShadowScore
from exporters.modules import frozen_copy, values_of
from exporters.onnx import with_values
from exporters.quantize import quantized
from exporters.session import Execution, RankerSession
from streamer.bench.latency import summary
from streamer.examples import Example
from streamer.settings import Settings
from streamer.student import Student

FORMS = ("float32", "int8")
CANDIDATES = 500
REQUESTS = 2_000
_CPU = Execution(providers=("CPU",))


class Forms:
    """The forms of a student's ranking graph, as of the last publish."""

    def __init__(self, folder: Path) -> None:
        self.sessions: dict[str, RankerSession] = {}
        self.costs_ms: dict[str, list[float]] = {"fill": [], "quantise": [], "load float32": [], "load int8": []}
        self.bytes: dict[str, int] = {}
        self._architectures = Architectures(folder)

    def publish(self, student: Student) -> None:
        """Export, quantise and load what the student is now."""
        graph = student.network.ranker.graphs()["rank"]
        module = frozen_copy(graph.module)
        exported = self._architectures.get(architecture_key(graph, module), graph, module)
        plain = self._timed("fill", lambda: with_values(exported, values_of(module)))
        contents = {"float32": plain, "int8": self._timed("quantise", lambda: quantized(plain))}
        self.sessions = {
            name: self._timed(f"load {name}", lambda content=content: RankerSession(content, _CPU))  # type: ignore[misc]
            for name, content in contents.items()
        }
        self.bytes = {name: len(content) for name, content in contents.items()}

    def _timed(self, name: str, work: Any) -> Any:
        started = time.perf_counter()
        done = work()
        self.costs_ms[name].append(1_000 * (time.perf_counter() - started))
        return done


def walk(examples: list[Example], settings: Settings, every: int, folder: Path) -> dict[str, Any]:
    """Learn the stream; returns figures of both forms over what was ranked before it was learnt."""
    student, forms = Student(settings), Forms(folder)
    student.tested_every = 1
    ranks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in FORMS}
    furthest, last = 0.0, None
    for number, batch in enumerate(batches(examples, settings.learning.batch_examples)):
        student.learn(batch)
        last = student.recent() or last
        if forms.sessions and last is not None:
            logits = {name: forms.sessions[name].run(last.feeds)["logits"] for name in FORMS}
            for name in FORMS:
                ranks[name].append(1 / ShadowScore.of(logits[name], last.labels, last.mask).reciprocal_ranks)
            furthest = max(furthest, float(np.abs(logits["int8"] - logits["float32"])[last.mask].max()))
        if number % every == 0:
            forms.publish(student)
    assert last is not None
    found = {name: _quality(np.concatenate(ranks[name])) for name in FORMS}
    return {
        "examples": len(np.concatenate(ranks["int8"])),
        "forms": {name: {**found[name], "bytes": forms.bytes[name]} for name in FORMS},
        "difference": _difference(*(np.concatenate(ranks[name]) for name in FORMS)),
        "largest logit difference": furthest,
        "speed": _speed(forms, last),
        "costs_ms": {name: float(np.median(times)) for name, times in forms.costs_ms.items()},
    }


def _gains(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(ranks <= 10.5, 1 / np.log2(1 + ranks), 0.0)


def _quality(ranks: NDArray[np.float64]) -> dict[str, float]:
    return {
        "hr@10": float((ranks <= 10.5).mean()),
        "ndcg@10": float(_gains(ranks).mean()),
        "mrr": float((1 / ranks).mean()),
    }


def _difference(plain: NDArray[np.float64], small: NDArray[np.float64]) -> dict[str, float]:
    """Mean of int8 less float32, with its standard error, paired by example."""
    gains = _gains(small) - _gains(plain)
    return {
        "ndcg@10": float(gains.mean()),
        "standard error": float(gains.std(ddof=1) / math.sqrt(len(gains))),
        "same rank": float((np.round(plain) == np.round(small)).mean()),
    }


def _speed(forms: Forms, recent: RecentExamples) -> dict[str, dict[str, float]]:
    """One request with 500 candidates, the forms in turn."""
    wide = {"candidate_vectors", "source_scores", "candidate_features"}
    feeds = {name: values[:1] for name, values in recent.feeds.items()}
    feeds |= {name: np.resize(feeds[name], (1, CANDIDATES, feeds[name].shape[2])) for name in wide}
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for turn in range(REQUESTS + 50):
        for name in FORMS:
            started = time.perf_counter()
            forms.sessions[name].run(feeds)
            if turn >= 50:
                times[name].append(1_000 * (time.perf_counter() - started))
    return {name: summary(values) for name, values in times.items()}


def main(
    dataset: Annotated[str, typer.Option()] = "ml-100k",
    events: Annotated[int, typer.Option()] = 6_000,
    families: Annotated[str, typer.Option()] = "session,caser",
    publish: Annotated[int, typer.Option(help="Micro-batches from one export to the next.")] = 8,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    found: dict[str, Any] = {}
    table = Table("family", "form", "HR@10", "NDCG@10", "p50 ms", "p99 ms", "KB", title=f"{dataset}, {events:,} events")
    for family in families.split(","):
        settings = Settings()
        settings.learning.family = family
        with tempfile.TemporaryDirectory() as folder:
            one = walk(examples_of(dataset, events, settings), settings, publish, Path(folder))
        found[family] = one
        for name in FORMS:
            form, speed = one["forms"][name], one["speed"][name]
            quality = (f"{form['hr@10']:.4f}", f"{form['ndcg@10']:.4f}")
            table.add_row(
                family, name, *quality, f"{speed['p50_ms']:.3f}", f"{speed['p99_ms']:.3f}", f"{form['bytes'] / 1e3:.0f}"
            )
    Console(width=120).print(table)
    print(json.dumps(found, indent=1))
    if json_path is not None:
        json_path.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    typer.run(main)
