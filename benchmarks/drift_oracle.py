"""What acting on a drift could gain at most: each action alone, begun exactly where the drift begins.

    python -m benchmarks.drift_oracle --stream labels,sudden,none --events 12000 --seeds 1,2,3

The student learns up to the drift (half way; of the stream ``none`` too) and is snapshotted. From that snapshot it
learns the next ``--after`` examples once for every action and once without any, and prequential HR@10 over them is
compared. Actions that last end after 3,000 examples, as they do in a trainer. Some are no actions of the drift policy:
they ask what forgetting would gain.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.drift import Ranks, Stream, open_stream, settings_of
from online_models.counting.pairs import PairLearner
from streamer.drift.hands import Hand, LearningRate, Replay
from streamer.network import Network
from streamer.settings import Settings
from streamer.student import Student

FOR_EXAMPLES = 3_000
End = Callable[[], None]


def _for_a_while(hand: Hand, amount: float) -> End:
    before = hand.read()
    hand.change(before, amount, "oracle")
    return lambda: hand.put_back(before)


def _rate(factor: float) -> Callable[[Student], End]:
    return lambda student: _for_a_while(LearningRate(student.network.learner.optimizer), factor)


def _replay(share: float) -> Callable[[Student], End]:
    return lambda student: _for_a_while(Replay(student.replay), share)


def _flush_replay(student: Student) -> End:
    state = student.replay.state_dict()
    student.replay.load_state_dict(state | {"batches": [], "seen": 0})
    return lambda: None


def _fade_counts(student: Student) -> End:
    for learner in student.memory.counting.values():
        if isinstance(learner, PairLearner):
            learner.pairs.counts *= 0.1
            learner.item_counts *= 0.1
    return lambda: None


def _new_network(student: Student) -> End:
    student.network = Network(student.settings, len(student.memory.sources.names))
    return lambda: None


ACTIONS: dict[str, Callable[[Student], End]] = {
    "nothing": lambda student: lambda: None,
    "rate x2": _rate(2.0),
    "rate x4": _rate(4.0),
    "rate x8": _rate(8.0),
    "replay 0.5": _replay(0.5),
    "flush replay": _flush_replay,
    "pair counts x0.1": _fade_counts,
    "new network": _new_network,
}
"""Name -> begins the action at a student, and returns what ends it."""


def made(stream: Stream, settings: Settings) -> Student:
    """Make a student that knows the catalogue and ranks every batch before it is learnt."""
    student = Student(settings)
    for item in stream.catalogue:
        student.describe(item)
    student.tested_every, student.prequential = 1, Ranks(student)
    return student


def taught(student: Student, stream: Stream, first: int, last: int) -> int:
    """Learn whole micro-batches from ``first`` until ``last`` is reached; returns where that was."""
    size = student.settings.learning.batch_examples
    while first < min(last, len(stream.examples) - size + 1):
        student.learn(stream.examples[first : first + size])
        first += size
    return first


def measure(kind: str, number: int, seed: int, after: int, names: list[str]) -> dict[str, Any]:
    """HR@10 behind the drift, for each action."""
    settings = settings_of(seed, "off", "{}")
    stream = open_stream(kind, number, seed, settings)
    begins = next(n for n, event in enumerate(stream.numbers) if event >= (stream.drift_at or stream.events // 2))
    before = made(stream, settings)
    begins = taught(before, stream, 0, begins)
    snapshot, found = before.state_dict(), {}
    for name in names:
        student = made(stream, settings)
        student.load_state_dict(snapshot)
        end = ACTIONS[name](student)
        stands = taught(student, stream, begins, begins + min(after, FOR_EXAMPLES))
        end()
        taught(student, stream, stands, begins + after)
        assert isinstance(student.prequential, Ranks)
        found[name] = float(np.mean([hit for _, hit in student.prequential.hits]))
    return {"stream": kind, "seed": seed, "from_example": begins, "after": after, "hr": found}


def show(rows: list[dict[str, Any]], names: list[str]) -> None:
    """Print HR@10 without acting, and what each action adds."""
    table = Table("stream", "seed", *names)
    for row in rows:
        nothing = row["hr"]["nothing"]
        gains = [f"{row['hr'][name] - nothing:+.4f}" for name in names[1:]]
        table.add_row(row["stream"], str(row["seed"]), f"{nothing:.4f}", *gains)
    Console(width=200).print(table)


def main(
    stream: Annotated[str, typer.Option(help="comma-separated, as of benchmarks/drift.py")] = "labels,sudden,none",
    events: Annotated[int, typer.Option(help="events of each stream")] = 12_000,
    seeds: Annotated[str, typer.Option(help="comma-separated")] = "1",
    after: Annotated[int, typer.Option(help="examples behind the drift")] = 4_000,
    actions: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(ACTIONS)}")] = ",".join(ACTIONS),
    json_path: Annotated[Path | None, typer.Option("--json", help="write every figure here")] = None,
) -> None:
    """Measure; a row for each stream and seed."""
    torch.set_num_threads(1)
    names, rows = list(dict.fromkeys(["nothing", *actions.split(",")])), []
    for kind in stream.split(","):
        for seed in map(int, seeds.split(",")):
            rows.append(measure(kind, events, seed, after, names))
            print(json.dumps(rows[-1]), flush=True)
            if json_path is not None:
                json_path.write_text(json.dumps(rows, indent=2))
    show(rows, names)


if __name__ == "__main__":
    typer.run(main)
