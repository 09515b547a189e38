"""The capacity sheet: bytes per user, per item and per event, and cores per 1,000 events a second, on this machine.

    python benchmarks/capacity.py --dataset simulator --events 20000 --json capacity.json

The parts are the ones that the processes run, one after another in this process: the worker's partition (session state,
event log, examples, pushes to Feast on SQLite), the trainer's student, its snapshot and its rows, the server's tables
and index, a list through the whole request path. Times are processor seconds of all threads, so other work on the
machine does not count; Kafka's and Redis's own time is not in them. Bytes are what lies on disk, or what the objects
say they hold.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from exporters import deltas
from exporters.asks import RecommendAsk
from exporters.item_tables import ItemTables
from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from feature_store.vectors import ITEM_NAMES
from online_models.sources import TABLES
from streamer import examples, snapshots
from streamer.effects import Record
from streamer.events import Event, encode
from streamer.examples import Example
from streamer.in_process import InProcess
from streamer.partitions import Partition
from streamer.settings import Settings, Stores
from streamer.sources import open_source
from streamer.student import Student
from streamer.topics import EXAMPLES

Figures = dict[str, float]


class Processor:
    """Adds up the processor seconds of ``with`` blocks, all threads together.

    >>> clock = Processor()
    >>> with clock.running():
    ...     _ = sum(range(10))
    >>> clock.seconds >= 0
    True
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        started = time.process_time()
        yield
        self.seconds += time.process_time() - started

    def cores(self, count: int) -> float:
        """Cores that a thousand a second keep busy."""
        return 1_000 * self.seconds / max(count, 1)


def size_of(folder: Path, pattern: str = "*") -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def measure_worker(settings: Settings, events: Sequence[Event], batch: int) -> tuple[Figures, list[Example]]:
    """Let a worker's partition take the events; returns its figures and the examples that it made."""
    stores, clock, pushing = settings.stores, Processor(), Processor()
    store = OnlineStore.open(stores.feast_dir)

    def show(states: Sequence[UserState]) -> float | None:
        with pushing.running():
            store.push(states)
        return 0.0

    partition, made = Partition(0, {}, settings, show), list[bytes]()
    for first in track(range(0, len(events), batch), "worker"):
        part = events[first : first + batch]
        records = [Record(first + n, one.event_time_ms, None, encode(one)) for n, one in enumerate(part)]
        with clock.running():
            effects = [*partition.apply(records), *partition.sweep(part[-1].event_time_ms)]
        made += [message.value for one in effects for message in one.messages if message.topic == EXAMPLES.name]
        partition.state.mark_delivered(partition.state.applied.commit)
    with clock.running():
        partition.flush_log(everything=True)
        partition.settle()
    users = len({event.user_id for event in events if event.user_id})
    partition.close()
    store.flush()
    store.close()
    ledger = _ledger_bytes(settings)
    figures = {
        "users": users,
        "cores per 1,000 events/s, worker": clock.cores(len(events)),
        "of them in the online store (SQLite)": pushing.cores(len(events)),
        "bytes per event, topic": sum(len(encode(event)) for event in events) / len(events),
        "bytes per event, event log": size_of(stores.event_log_dir) / len(events),
        "bytes per event, ledger of event ids": ledger / len(events),
        "bytes per user, session state": (size_of(stores.sessions_dir) - ledger) / users,
        "bytes per user, online store (SQLite)": size_of(stores.feast_dir, "online.db*") / users,
        "examples per event": len(made) / len(events),
        "bytes per example, topic": sum(map(len, made)) / max(len(made), 1),
    }
    return figures, [examples.decode(value) for value in made]


def _ledger_bytes(settings: Settings) -> int:
    """Bytes of the pages of the event ids and their index; the file is compacted first."""
    pages = 0
    for path in settings.stores.sessions_dir.glob("*.sqlite"):
        connection = sqlite3.connect(path)
        connection.execute("VACUUM")
        query = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'event_ids%' OR name LIKE 'sqlite_autoindex_event_ids%'"
        try:
            pages += int(connection.execute(query).fetchone()[0] or 0)
        except sqlite3.OperationalError:  # this SQLite is built without dbstat: what its texts and integers take
            query = "SELECT 2 * sum(length(event_id)) + 20 * count(*) FROM event_ids"
            pages += int(connection.execute(query).fetchone()[0] or 0)
        connection.close()
    return pages


def measure_trainer(settings: Settings, taken: Sequence[Example]) -> Figures:
    """Let a student learn the examples in micro-batches, take its rows, and write its snapshot."""
    student, clock, rows, row_bytes = Student(settings), Processor(), 0, 0
    size = settings.learning.batch_examples
    for first in track(range(0, len(taken), size), "trainer"):
        with clock.running():
            student.learn(list(taken[first : first + size]))
            fresh = student.take_rows()
            encoded = [deltas.encode(row) for row in fresh]
        rows, row_bytes = rows + len(encoded), row_bytes + sum(map(len, encoded))
    path = settings.stores.state_dir / "snapshot.safetensors"
    saving = Processor()
    with saving.running():
        snapshots.save(path, student.state_dict())
    return {
        "cores per 1,000 examples/s, trainer": clock.cores(len(taken)),
        "rows per example, weights topic": rows / max(len(taken), 1),
        "bytes per row, weights topic": row_bytes / max(rows, 1),
        "bytes of a snapshot": path.stat().st_size,
        "processor seconds of a snapshot": saving.seconds,
    }


def measure_items(settings: Settings, few: int, many: int) -> Figures:
    """Bytes that one more row of the catalogue takes: in a snapshot, in the trainer's and in the server's memory."""
    found = {}
    for rows in (few, many):
        learning = settings.learning.model_copy(update={"catalog_rows": rows})
        tracemalloc.start()
        student = Student(settings.model_copy(update={"learning": learning}))
        python_bytes = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        tracemalloc.start()
        tables = ItemTables(rows, learning.dimension, len(ITEM_NAMES), TABLES, learning.neighbours)
        server_bytes = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        del tables
        path = settings.stores.state_dir / f"snapshot-{rows}.safetensors"
        snapshots.save(path, student.state_dict())
        found[rows] = path.stat().st_size, python_bytes + _tensor_bytes(student), server_bytes
        path.unlink()
    names = ("snapshot", "trainer's memory", "server's tables")
    return {
        f"bytes per item, {name}": (more - less) / (many - few)
        for name, less, more in zip(names, found[few], found[many], strict=True)
    }


def _tensor_bytes(student: Student) -> int:
    """Bytes of the tensors, which Python's own count does not see; the optimiser holds as much again."""
    return sum(one.nbytes for one in student.network.ranker.state_dict().values() if isinstance(one, torch.Tensor))


def measure_lists(settings: Settings, catalogue: list[Event], events: Sequence[Event], asks: int) -> Figures:
    """Processor time of a list, through sources, features and the network (its graphs run in torch here)."""
    clock = Processor()
    with tempfile.TemporaryDirectory() as folder:
        loop = InProcess(settings, Path(folder), catalogue)
        for event in track(events, "lists: warm up"):
            loop.take(event)
        users = list(dict.fromkeys(event.user_id for event in events if event.user_id))
        for number in track(range(asks), "lists"):
            ask = RecommendAsk(user_id=users[number % len(users)], count=10, log=False)
            with clock.running():
                loop.rank(ask, events[-1].event_time_ms)
        loop.close()
    return {"cores per 1,000 lists/s, server": clock.cores(asks)}


def show(console: Console, figures: Figures) -> None:
    """Print the sheet."""
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3g}" if value < 100 else f"{value:,.0f}")
    console.print(table)


def main(
    dataset: Annotated[str, typer.Option(help="A data set's name, a file, or simulator.")] = "simulator",
    count: Annotated[int, typer.Option("--events", min=1_000, help="Events of the worker's part.")] = 20_000,
    learned: Annotated[int, typer.Option(min=100, help="Examples of the trainer's part, at most.")] = 3_000,
    asks: Annotated[int, typer.Option(min=10, help="Lists of the server's part.")] = 300,
    batch: Annotated[int, typer.Option(min=1, help="Events a worker takes at once.")] = 128,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
) -> None:
    """Measure the capacity sheet on this machine."""
    torch.set_num_threads(1)
    console, figures = Console(), dict[str, Any]()
    source = open_source(dataset, Settings().data or Path("data"), count)
    events, catalogue = list(islice(source.events(), count)), list(source.items())
    console.print(source.description, markup=False)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(stores=Stores(state_dir=Path(folder)))
        parts: list[Callable[[], Figures]] = []
        worker, made = measure_worker(settings, events, batch)
        figures |= {"events": len(events), **worker}
        parts.append(lambda: measure_trainer(settings, made[:learned]))
        parts.append(lambda: measure_items(settings, 5_000, 25_000))
        parts.append(lambda: measure_lists(settings, catalogue, events[: 2 * asks], asks))
        for part in parts:
            figures |= part()
    show(console, figures)
    if json_path is not None:
        json_path.write_text(json.dumps({"dataset": source.name, **figures}, indent=2))


if __name__ == "__main__":
    typer.run(main)
