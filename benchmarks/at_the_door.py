"""What would have been served: the whole loop in one process, asked just before events happen.

    python benchmarks/at_the_door.py --dataset simulator --events 10000 --seeds 3 --json door.json

Events go through the worker's sessions and joins, the trainer's student and the server's ranking path
(:mod:`streamer.in_process`). A seeded sample of the interactions after the first fifth is asked for a list before it
happens; baselines rank on the same asks. Figures beside the served list take it apart: how often the item was among the
candidates, what each source alone would have made of them, and where the item stood in its logged slate, ranked anew
and as it was shown. An item that the user had taken before is never offered, so those asks are lost to everybody; their
share is reported. Seeds choose the sample and start the learners; the simulator's worlds differ too.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from exporters.asks import RankAsk, RecommendAsk
from exporters.slates import Slate
from streamer.baselines import DEPTH, Taken, measure
from streamer.events import Event
from streamer.in_process import InProcess
from streamer.settings import Settings
from streamer.sources import Source, open_source
from streamer.sources.simulator import SimulatorSource

WARM_UP = 0.2
Ranks = dict[str, int]  # list -> place of the item taken, from 1; 0: not in it


def sample(events: list[Event], share: float, seed: int) -> set[int]:
    """Numbers of the interactions that are asked about."""
    first = int(len(events) * WARM_UP)
    chosen = random.Random(seed).sample(range(first, len(events)), math.ceil(share * (len(events) - first)))
    return {number for number in chosen if events[number].type == "interaction"}


def ranks(loop: InProcess, event: Event, shown: list[str]) -> Ranks:
    """Ask for a list, and find the item in it and in what it was made of."""
    now_ms, user_id = event.event_time_ms, event.user_id or ""
    whole = loop.rank(RecommendAsk(user_id=user_id, count=loop.settings.serving.max_candidates, log=False), now_ms)
    found = {"served": place(whole, event.item_id), **by_source(loop, whole, event.item_id)}
    if event.item_id in shown:
        again = loop.rank(RankAsk(user_id=user_id, candidates=shown, log=False), now_ms)
        found |= {"in slate": place(again, event.item_id), "in slate as shown": shown.index(event.item_id or "") + 1}
    return found


def place(slate: Slate, item_id: str | None) -> int:
    return slate.item_ids.index(item_id) + 1 if item_id in slate.item_ids else 0


def by_source(loop: InProcess, slate: Slate, item_id: str | None) -> Ranks:
    """Place among the same candidates by one source's score, ties against it."""
    names, where = loop.student.memory.sources.names, place(slate, item_id) - 1
    if where < 0:
        return {f"by {name}": 0 for name in names}
    own = slate.source_scores[where]  # [S]
    ahead = (slate.source_scores >= own).sum(axis=0)  # [S]
    known = zip(names, ahead.tolist(), own.tolist(), strict=True)
    return {f"by {name}": rank if score > 0 else 0 for name, rank, score in known}


def walk(source: Source, settings: Settings, share: float, seed: int) -> tuple[list[Ranks], dict[str, float]]:
    """Let all events happen; returns the ranks at each ask, and figures of the walk."""
    events = list(source.events())
    asked, found = sample(events, share, seed), list[Ranks]()
    slates: dict[str | None, list[str]] = {}
    new, repeated, started = 0, 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        loop = InProcess(settings, Path(folder), source.items())
        for number, event in enumerate(track(events, f"{source.name}, seed {seed}")):
            if number in asked:
                found.append(ranks(loop, event, slates.get(event.impression_id, [])))
                new += not loop.has_row(event.item_id or "")
                repeated += event.item_id in loop.session(event.user_id or "", event.event_time_ms).seen_item_ids
            if event.type == "impression":
                slates[event.impression_id] = event.items or []
            loop.take(event)
        loop.close()
    seconds = time.perf_counter() - started
    return found, {
        "asks": len(found),
        "never taken before": new / max(len(found), 1),
        "taken by this user before": repeated / max(len(found), 1),
        "among the candidates": mean(one["served"] > 0 for one in found),
        "seconds": round(seconds, 1),
        **measure(taken(events, asked), seed=seed),
    }


def taken(events: list[Event], asked: set[int]) -> list[Taken]:
    return [
        Taken(event.user_id or "", event.item_id or "", event.event_time_ms / 1_000, number in asked)
        for number, event in enumerate(events)
        if event.type == "interaction"
    ]


def figures(found: list[Ranks]) -> dict[str, float]:
    """Hit rate and NDCG at 10 of every list; of the ten of a slate the reciprocal rank says more."""
    values: dict[str, float] = {}
    for name in found[0] if found else ():
        places = np.array([one[name] for one in found if name in one])
        hits = (places > 0) & (places <= DEPTH)
        values[f"{name}_hr@{DEPTH}"] = float(hits.mean())
        values[f"{name}_ndcg@{DEPTH}"] = float((hits / np.log2(places + 1.0).clip(1)).mean())
    for name in ("in slate", "in slate as shown"):
        places = np.array([one[name] for one in found if name in one])
        if len(places):
            values[f"{name}_mrr"] = float((1 / places.clip(1)).mean())
    return values


def source_of(dataset: str, settings: Settings, events: int, seed: int) -> Source:
    source = open_source(dataset, settings.data, events)
    if isinstance(source, SimulatorSource):
        return replace(source, config=replace(source.config, seed=source.config.seed + seed))
    return source


def show(runs: list[dict[str, float]], console: Console) -> None:
    table = Table("figure", "mean", *(f"seed {seed}" for seed in range(len(runs))))
    for name in runs[0]:
        values = [run.get(name, math.nan) for run in runs]
        table.add_row(name, f"{mean(values):.4f}", *(f"{value:.4f}" for value in values))
    console.print(table)


def main(
    dataset: Annotated[str, typer.Option(help="A data set, the simulator, or an event file.")] = "simulator",
    events: Annotated[int, typer.Option(help="The earliest so many events.")] = 10_000,
    seeds: Annotated[int, typer.Option(help="How many runs.")] = 1,
    share: Annotated[float, typer.Option(help="Of the events after the warm-up that are asked about.")] = 0.25,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures of all runs to this file.")] = None,
) -> None:
    """Walk a stream and ask before its events."""
    torch.set_num_threads(threads)
    runs: list[dict[str, float]] = []
    for seed in range(seeds):
        settings = Settings()
        settings.learning.seed += seed
        found, walked = walk(source_of(dataset, settings, events, seed), settings, share, seed)
        runs.append({**walked, **figures(found)})
        if report is not None:
            collected = {"dataset": dataset, "events": events, "share": share, "runs": runs}
            report.write_text(json.dumps(collected, indent=2) + "\n")
    show(runs, Console())


if __name__ == "__main__":
    typer.run(main)
