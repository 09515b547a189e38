"""Drift: how soon it is noticed, how often by mistake, and what acting on it gains.

    python benchmarks/drift.py --stream none,sudden,gradual,recurring,features,labels --events 100000 --seeds 3
    HEADWATER_DATA=… python benchmarks/drift.py --stream swap --events 60000 --act

Events go through the worker's sessions and joins and the trainer's student, in one process. The simulator's own drifts
are off; a planned one begins half way. The stream ``swap`` is ml-100k whose two commonest genres change places half
way: the items of one are renamed into the items of the other, in the order of how often they are taken. The student is
tested on every batch for the figures; the drift monitor sees the scores of every second, as it does in a trainer, and
all while it is suspicious. Delays and false alarms are in events.

Without ``--act`` the monitor runs dry. With it every stream is learnt twice, without and with acting, and prequential
HR@10 is compared over the examples from the drift to the end and over the ``--after`` first of them.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from feature_store.user_state import ItemInfo
from online_models.batch import Batch
from streamer import examples
from streamer.drift.records import Action, Alarm
from streamer.drift.records import Record as DriftRecord
from streamer.effects import Effects, Record
from streamer.events import Event, encode
from streamer.examples import Example
from streamer.item_reader import info_of
from streamer.pipeline import SessionPipeline
from streamer.prequential import Prequential, ranks_of_taken
from streamer.settings import Settings
from streamer.sources import open_source
from streamer.sources.simulated_drift import Course, PlannedDrift, Subject
from streamer.sources.simulated_world import DAY_MS, WorldConfig
from streamer.sources.simulator import SimulatorSource
from streamer.state import PartitionState, state_path
from streamer.student import Student
from streamer.topics import EXAMPLES

DEPTH = 10
WORKER_BATCH = 64
_DAY_OF_EVENTS = 40_000  # of the simulator, about
SUBJECTS: dict[str, Subject] = {"features": "features", "labels": "labels"}
COURSES: dict[str, Course] = {"gradual": "gradual", "recurring": "recurring"}
STREAMS = ("none", "sudden", "gradual", "recurring", "features", "labels", "swap", "ml-100k")


@dataclass(frozen=True)
class Stream:
    """Examples of one stream, and where its drift begins."""

    catalogue: list[ItemInfo]
    examples: list[Example]
    numbers: list[int]  # number of the event behind each example
    drift_at: int | None  # number of an event
    events: int


class Ranks(Prequential):
    """Keeps every hit of the served ranking, in order, with the number of learned examples."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self._student = student
        self.hits: list[tuple[int, bool]] = []

    def observe(self, batch: Batch, scores: dict[str, Tensor]) -> None:
        """Take the hits of a batch."""
        super().observe(batch, scores)
        self.hits += [(self._student.learned, rank <= DEPTH) for rank in ranks_of_taken(batch, scores["served"])]


def simulated(kind: str, number: int, seed: int) -> tuple[list[Event], list[Event], int | None]:
    """Catalogue, events, and the number of the first event behind the drift."""
    config = WorldConfig(seed=seed, drift_every_days=1e9, wander=0.0, sessions_per_day=_DAY_OF_EVENTS / 9)
    source = SimulatorSource(config=config, limit=number)
    if kind == "none":
        return list(source.items()), list(source.events()), None
    times = [event.event_time_ms for event in source.events()]
    half = number // 2
    until = times[half + (half // 4 if kind == "recurring" else half // 2)]
    begins, span = (times[half] - config.start_ms) / DAY_MS, (until - times[half]) / DAY_MS
    planned = PlannedDrift(
        subject=SUBJECTS.get(kind, "tastes"), course=COURSES.get(kind, "sudden"), at_day=begins, over_days=span
    )
    source = SimulatorSource(config=replace(config, planned=(planned,)), limit=number)
    return list(source.items()), list(source.events()), half


def swapped(number: int, plant: bool) -> tuple[list[Event], list[Event], int | None]:
    """ml-100k, where the two commonest genres change places half way."""
    source = open_source("ml-100k", Settings().data)
    catalogue, events = list(source.items()), list(source.events())[:number]
    if not plant:
        return catalogue, events, None
    half, taken = len(events) // 2, Counter(event.item_id for event in events)
    genres = {item.item_id: set(item.categories or ()) for item in catalogue}
    first, second = [name for name, _ in Counter(g for e in events for g in genres[e.item_id]).most_common(2)]
    members = [
        [i for i, _ in taken.most_common() if (one in genres[i]) and (other not in genres[i])]
        for one, other in ((first, second), (second, first))
    ]
    names = {a: b for one, two in zip(*members, strict=False) for a, b in ((one, two), (two, one))}
    renamed = [msgspec.structs.replace(e, item_id=names.get(e.item_id, e.item_id)) for e in events[half:]]
    return catalogue, events[:half] + renamed, half


def make_examples(events: list[Event], items: dict[str, ItemInfo], settings: Settings) -> Iterator[Example]:
    """Examples that events cause, made as a worker makes them; their source is the number of the event."""
    with tempfile.TemporaryDirectory() as folder:
        state = PartitionState(state_path(Path(folder), 0))
        pipeline = SessionPipeline(0, state, items, settings)
        for first in range(0, len(events), WORKER_BATCH):
            batch = list(enumerate(events[first : first + WORKER_BATCH], start=first))
            yield from written(state, pipeline.sweep(batch[0][1].event_time_ms))
            records = [Record(number, event.event_time_ms, None, encode(event)) for number, event in batch]
            yield from written(state, pipeline.process(records))
        state.close()


def written(state: PartitionState, effects: Effects | None) -> Iterator[Example]:
    """Examples among what a batch does, once it is done."""
    if effects is None:
        return
    state.commit(effects)
    state.mark_delivered(effects.after.commit)
    for message in effects.messages:
        if message.topic == EXAMPLES.name:
            yield examples.decode(message.value)


def open_stream(kind: str, number: int, seed: int, settings: Settings) -> Stream:
    """Make a stream's examples."""
    if kind in ("swap", "ml-100k"):
        catalogue, events, drift_at = swapped(number, plant=kind == "swap")
    else:
        catalogue, events, drift_at = simulated(kind, number, seed)
    items = {event.item_id or "": info_of(event.item_id or "", event) for event in catalogue}
    made = list(make_examples(events, items, settings))
    return Stream(list(items.values()), made, [one.source.offset for one in made], drift_at, len(events))


def walk(stream: Stream, settings: Settings) -> tuple[list[DriftRecord], list[tuple[int, bool]], float]:
    """Learn a stream; returns the records, the hits, and CPU seconds."""
    student, started = Student(settings), time.process_time()
    for item in stream.catalogue:
        student.describe(item)
    student.tested_every, student.prequential = 1, Ranks(student)
    monitor = student.drift
    assert monitor is not None
    test, batches = monitor.test, 0

    def sometimes(*given: Any) -> None:
        if batches % settings.drift.test_every == 0 or monitor.suspicious:
            test(*given)

    monitor.test = sometimes  # type: ignore[method-assign, assignment]
    size = settings.learning.batch_examples
    for first in range(0, len(stream.examples) - size + 1, size):
        student.learn(stream.examples[first : first + size])
        batches += 1
    return monitor.take_records(), student.prequential.hits, time.process_time() - started


def judge(stream: Stream, records: list[DriftRecord]) -> dict[str, Any]:
    """Delays of true alarms, by signal, and false alarms, in events."""
    at = stream.events if stream.drift_at is None else stream.drift_at
    alarms = [r for r in records if isinstance(r, Alarm)]
    places = [(one, stream.numbers[min(one.until_example, len(stream.numbers) - 1)]) for one in alarms]
    true: dict[str, int] = {}
    for one, place in places:
        if place >= at:
            true.setdefault(one.signal, place - at)
    false = [(one.signal, place) for one, place in places if place < at]
    actions = Counter(f"{r.kind} {r.state}" for r in records if isinstance(r, Action))
    return {
        "delays": true,
        "first_delay": min(true.values(), default=None),
        "since_error": {one.signal: stream.numbers[one.since_example] - at for one, place in places if place >= at},
        "false": false,
        "false_per_100k": 100_000 * len(false) / max(at, 1),
        "actions": dict(actions),
        "first_text": next((one.text for one, place in places if place >= at), ""),
        "first_moved": next(([msgspec.to_builtins(m) for m in one.moved] for one, p in places if p >= at), []),
    }


def quality(stream: Stream, hits: list[tuple[int, bool]], after: int) -> dict[str, float]:
    """HR@10 before the drift, over the first ``after`` examples behind it, and from it to the end."""
    at = next((n for n, e in enumerate(stream.numbers) if e >= (stream.drift_at or stream.events // 2)), 0)
    numbers, values = np.array([n for n, _ in hits]), np.array([hit for _, hit in hits], float)

    def mean(mask: Any) -> float:
        return float(values[mask].mean()) if mask.any() else float("nan")

    return {
        "before": mean((numbers < at) & (numbers >= at // 2)),
        "after": mean((numbers >= at) & (numbers < at + after)),
        "rest": mean(numbers >= at),
    }


def settings_of(seed: int, mode: str, given: str) -> Settings:
    """Default settings of a trainer, with the drift group as given."""
    base = Settings()
    learning = base.learning.model_copy(update={"seed": seed, "distillation": "off"})
    drift = type(base.drift).model_validate({"mode": mode, **json.loads(given)})
    return base.model_copy(update={"learning": learning, "drift": drift})


def measure(kind: str, number: int, seed: int, act: bool, given: str, after: int) -> dict[str, Any]:
    """All figures of one stream and one seed."""
    dry = settings_of(seed, "dry-run", given)
    stream = open_stream(kind, number, seed, dry)
    records, hits, seconds = walk(stream, dry)
    row: dict[str, Any] = {"stream": kind, "seed": seed, "events": stream.events, "examples": len(stream.examples)}
    row |= judge(stream, records) | {"cpu_seconds": seconds, "hr": quality(stream, hits, after)}
    if act:
        acted, hits, _ = walk(stream, settings_of(seed, "act", given))
        row |= {"hr_acting": quality(stream, hits, after), "actions_acting": judge(stream, acted)["actions"]}
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Print what was found."""
    table = Table(
        "stream", "seed", "examples", "first delay", "by signal", "false /100k", "HR before, after, rest", "acting"
    )
    for row in rows:
        hr, acting = row["hr"], row.get("hr_acting")
        table.add_row(
            row["stream"],
            str(row["seed"]),
            str(row["examples"]),
            str(row["first_delay"]),
            ", ".join(f"{name} {delay}" for name, delay in row["delays"].items()),
            f"{row['false_per_100k']:.1f} {Counter(name for name, _ in row['false'])!s}",
            " ".join(f"{hr[name]:.4f}" for name in ("before", "after", "rest")),
            " ".join(f"{acting[name]:.4f}" for name in ("before", "after", "rest")) if acting else "",
        )
    Console(width=200).print(table)


def main(
    stream: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(STREAMS)}")] = "none,sudden,labels",
    events: Annotated[int, typer.Option(help="events of each stream")] = 40_000,
    seeds: Annotated[str, typer.Option(help="comma-separated")] = "1",
    act: Annotated[bool, typer.Option(help="learn each stream once more, acting")] = False,
    drift: Annotated[str, typer.Option(help="JSON over the settings group drift")] = "{}",
    after: Annotated[int, typer.Option(help="examples behind the drift that count as just after it")] = 4_000,
    json_path: Annotated[Path | None, typer.Option("--json", help="write every figure here")] = None,
) -> None:
    """Measure; a row for each stream and seed."""
    torch.set_num_threads(1)
    rows = []
    for kind in stream.split(","):
        for seed in map(int, seeds.split(",")):
            rows.append(measure(kind, events, seed, act, drift, after))
            print(json.dumps(rows[-1]), flush=True)
            if json_path is not None:
                json_path.write_text(json.dumps(rows, indent=2))
    show(rows)


if __name__ == "__main__":
    typer.run(main)
