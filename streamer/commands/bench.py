"""``headwater bench``: how fast the parts are on this machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer
from rich.console import Console

from streamer.bench.learn import FORMS, LearningSpeed, measure
from streamer.commands.reporting import progress_bar, write_json
from streamer.evaluation.data import load
from streamer.settings import Settings
from streamer.wide_table import WideTable

app = typer.Typer(no_args_is_help=True, help="Measure the parts on this machine.")


@app.callback()
def bench() -> None:
    """Measure the parts on this machine."""
    # A SIGTERM unwinds like Ctrl-C, so that no child outlives the measurement.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


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


@app.command()
def serve(
    rates: str = typer.Option("50,100,200,400,800", help="Requests a second, one after another."),
    seconds: float = typer.Option(60.0, min=1, help="At each rate."),
    items: int = typer.Option(100_000, min=1_000, help="In the catalogue, which is made up; sizes decide the cost."),
    users: int = typer.Option(5_000, min=10, help="With sessions in the online store."),
    arrivals: str = typer.Option("poisson", help="poisson or constant: how requests come."),
    stop_above_ms: float = typer.Option(100.0, help="No higher rate after a p99 above this."),
    log: bool = typer.Option(True, help="Lists publish their impression, as for a real application."),
    broker: str | None = typer.Option(None, help="Kafka at host:port; an embedded broker when absent."),
    redis: str | None = typer.Option(None, help="URL of a Redis as online store; SQLite when absent."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Load one real server open loop, and say how it answers at each rate and where the time goes.

    Latency runs from the moment a request was due, so a stall counts for every request of its time. 500 candidates are
    ranked for a list of 20; sessions change meanwhile. Floors of the same run: the graph alone, the store alone, an
    empty route under the same load, brute force in NumPy.
    """
    from streamer.bench import serve as bench
    from streamer.bench.made_up_users import Mix

    options = bench.ServeOptions(
        rates=_rates(rates), seconds=seconds, items=items, users=users, arrivals=_process(arrivals), mix=Mix(log=log),
        stop_above_ms=stop_above_ms, broker=broker, redis_url=redis,
    )  # fmt: skip
    write_json(json_path, bench.run(options, Console()))


@app.command()
def freshness(
    rate: float = typer.Option(1_000.0, min=1, help="Events a second."),
    seconds: float = typer.Option(60.0, min=2, help="At that rate, after the warm-up."),
    warm_seconds: float = typer.Option(15.0, min=0, help="At that rate before anything is measured."),
    dataset: str = typer.Option("simulator", help="A known data set or a file of events; its interactions are played."),
    tries: int = typer.Option(3, min=1, help="Rates to try until the learner keeps up, each 0.8 of what it learnt."),
    broker: str | None = typer.Option(None, help="Kafka at host:port; an embedded broker when absent."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Publish events at a rate to a worker, a trainer and a server, and say how soon they show.

    Three ways, each from the publication of the event: into the user's session, into a served row, into the served
    dense part. Where more than two seconds of events wait for the learner at the end, the next rate is lower.
    """
    from streamer.bench import freshness as bench

    options = bench.FreshnessOptions(
        rate=rate, seconds=seconds, warm_seconds=warm_seconds, dataset=dataset, tries=tries, broker=broker
    )
    write_json(json_path, bench.run(options, Console()))


@app.command()
def ingest(
    events: int = typer.Option(50_000, min=100, help="Published first, for the worker to catch up with."),
    seconds: float = typer.Option(10.0, min=1, help="At the server's door, for each size of a request."),
    dataset: str = typer.Option("simulator", help="A known data set or a file of events; its interactions are played."),
    broker: str | None = typer.Option(None, help="Kafka at host:port; an embedded broker when absent."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Count the events a second that a worker catches up with, and that POST /events takes alone and by the hundred."""
    from streamer.bench import ingest as bench

    options = bench.IngestOptions(events=events, seconds=seconds, dataset=dataset, broker=broker)
    write_json(json_path, bench.run(options, Console()))


@app.command()
def recovery(
    rate: float = typer.Option(100.0, min=1, help="Events a second meanwhile."),
    dataset: str = typer.Option("simulator", help="A known data set or a file of events; its interactions are played."),
    broker: str | None = typer.Option(None, help="Kafka at host:port; an embedded broker when absent."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Kill server, worker and trainer (SIGKILL) one after another under load, and time the same state's return."""
    from streamer.bench import recovery as bench

    options = bench.RecoveryOptions(rate=rate, dataset=dataset, broker=broker)
    write_json(json_path, bench.run(options, Console()))


@app.command()
def rollback(
    items: int = typer.Option(100_000, min=1_000, help="In the catalogue, which is made up."),
    users: int = typer.Option(2_000, min=10, help="With sessions in the online store."),
    rate: float = typer.Option(50.0, min=1, help="Requests a second."),
    seconds: float = typer.Option(30.0, min=3, help="As usual, and again with a rollback and its release."),
    broker: str | None = typer.Option(None, help="Kafka at host:port; an embedded broker when absent."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Roll a version back and release it while a server answers, and say what lists notice and how soon it serves."""
    from streamer.bench import rollback as bench

    options = bench.RollbackOptions(items=items, users=users, rate=rate, seconds=seconds, broker=broker)
    write_json(json_path, bench.run(options, Console()))


@app.command()
def retrieve(
    items: str = typer.Option("100000,1000000", help="Sizes of the catalogue, which is made up."),
    dimension: int = typer.Option(64, min=2, help="D of the vectors."),
    data: str = typer.Option("clustered", help="clustered (as items are) or gaussian (without structure), or both."),
    kinds: str = typer.Option(
        "exact,served,faiss-ivf-128,usearch-f32-1024",
        help="What searches; peers need the extra `bench` of headwater.",
        show_default="exact, served, faiss-ivf-128, usearch-f32-1024",
    ),
    queries: int = typer.Option(1_000, min=10, help="One after another."),
    moving: int = typer.Option(1_000, min=0, help="The served index once more while so many vectors a second move."),
    dataset: str | None = typer.Option(None, help="Instead: vectors of a SASRec that learns this data set first."),
    fit_minutes: float = typer.Option(1.0, min=0.1, help="How long it learns."),
    seed: int = typer.Option(0, help="Of everything that is drawn."),
    json_path: Path | None = typer.Option(None, "--json", help="Write the figures there."),
) -> None:
    """Find the best 100 items for a vector by inner product: how many of the true ones, how fast, in what memory.

    Exact search in NumPy is the floor and the truth. Everything searches on one thread; set OMP_NUM_THREADS=1.
    """
    from streamer.bench import retrieve as bench

    options = bench.RetrieveOptions(
        items=tuple(int(size) for size in _words(items)), dimension=dimension, data=_words(data), kinds=_words(kinds),
        queries=queries, moving_per_second=moving, dataset=dataset, fit_minutes=fit_minutes, seed=seed,
    )  # fmt: skip
    write_json(json_path, bench.run(options, Console()))


def _words(given: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in given.split(",") if word.strip())


def _rates(given: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(rate) for rate in given.split(","))
    except ValueError:
        rates = ()
    if not rates or min(rates) <= 0:
        raise typer.BadParameter(f"{given!r} is no list of rates; write for instance 50,100,200")
    return rates


def _process(given: str) -> str:
    from streamer.bench.arrivals import PROCESSES

    if given not in PROCESSES:
        raise typer.BadParameter(f"{given!r} is no arrival process; there are {', '.join(PROCESSES)}")
    return given


def _figures(speed: LearningSpeed) -> dict[str, float]:
    return {
        "events": speed.events,
        "learn_seconds": speed.learn_seconds,
        "learnt_per_second": speed.learnt_per_second,
        "tested_and_learnt_per_second": speed.tested_and_learnt_per_second,
        **speed.metrics,
    }


def _table(title: str, found: list[LearningSpeed]) -> WideTable:
    headings = ("form", "events", "learnt/s", "tested and learnt/s", "hr@10", "untied", "ndcg@10")
    table = WideTable(title, headings)
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
