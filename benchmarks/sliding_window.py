"""Which windows to train on: the latest, sliding ones, or a mixture, at equal optimiser steps.

ML-1M as ordered histories. A tenth of the users is held out: on the newest K events of each (*recent*) and on K events
anywhere before them (*old*) every model predicts the newest 20. Of all other users the last 5 events are never trained
on: *future*. Full ranking, what the user took before is left out. Popularity stands beside. One setting for all, taken
as it is, nothing tuned.

    HEADWATER_DATA=… python benchmarks/sliding_window.py --json windows.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from online_models.foundation import FoundationLearner, FoundationModel, HistoryStore, metadata
from online_models.foundation.windows import Windows, all_sliding, fixed_latest, mixed
from streamer.settings import Settings
from streamer.sources.location import locate

Rows = NDArray[np.int64]
FUTURE, TARGETS = 5, 20
PARTS = ("recent", "old", "future")


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Windows whose newest ``targets`` events are to be predicted, each from those before it."""

    windows: list[Rows] = field(default_factory=list)  # [T] each
    taken: list[Rows] = field(default_factory=list)  # everything of the user before the window
    targets: int = TARGETS


@dataclass(frozen=True, kw_only=True)
class Data:
    """Histories to train on, and three sets of questions."""

    train: dict[int, Rows]
    questions: dict[str, Questions]
    tokens: Rows  # [R, M]


def load(folder: Path, length: int, seed: int) -> Data:
    log = pd.read_parquet(folder / "ordered_interactions.parquet").sort_values(["user_id", "pos"], kind="stable")
    movies = {int(name): (title, kinds.strip().split("|")) for name, title, kinds in read_movies(folder)}
    rows, names = pd.factorize(log["movie_id"], sort=True)
    tokens = np.zeros((len(names) + 2, metadata.SLOTS), np.int64)
    for row, name in enumerate(names, start=2):
        title, kinds = movies.get(int(name), ("", []))
        tokens[row] = metadata.tokens(kinds, title)
    ends = np.cumsum(log.groupby("user_id").size().to_numpy())
    histories = np.split(rows.astype(np.int64) + 2, ends[:-1])
    random = np.random.default_rng((seed, 1))
    held = set(random.permutation(len(histories))[: len(histories) // 10].tolist())
    questions = {"recent": Questions(), "old": Questions(), "future": Questions(targets=FUTURE)}
    train: dict[int, Rows] = {}
    for user, history in enumerate(histories):
        if user in held:
            ask(questions["recent"], history, len(history) - length, length)
            if len(history) >= 2 * length:
                ask(questions["old"], history, int(random.integers(0, len(history) - 2 * length + 1)), length)
        else:
            train[user] = history[:-FUTURE]
            ask(questions["future"], history, len(history) - length, length)
    return Data(train=train, questions=questions, tokens=tokens)


def read_movies(folder: Path) -> Iterator[tuple[str, str, str]]:
    for line in (folder / "movies.dat").read_text(encoding="latin-1").splitlines():
        name, title, kinds = line.split("::")
        yield name, title, kinds


def ask(questions: Questions, history: Rows, start: int, length: int) -> None:
    start = max(start, 0)
    if len(history) - start > questions.targets:
        questions.windows.append(history[start : start + length])
        questions.taken.append(history[:start])


def rank(states: torch.Tensor, vectors: torch.Tensor, window: Rows, taken: Rows, targets: int) -> Rows:
    """Ranks of the newest events of one window, ties against the model. [targets]."""
    scores = states @ vectors.T  # [targets, R]
    scores[:, :2] = -torch.inf
    scores[:, torch.from_numpy(taken)] = -torch.inf
    goals = torch.from_numpy(window[-targets:])
    own = scores.gather(1, goals[:, None])
    for place in range(targets):
        scores[place, torch.from_numpy(window[: len(window) - targets + place])] = -torch.inf
    return (1 + (scores >= own).sum(1) - (scores.gather(1, goals[:, None]) >= own).squeeze(1).long()).numpy()


def measure(ranks: Rows) -> dict[str, float]:
    return {"recall@10": float((ranks <= 10).mean()), "mrr": float((1 / ranks).mean())}


@torch.no_grad()
def evaluate(learner: FoundationLearner, data: Data) -> dict[str, dict[str, float]]:
    vectors = learner.item_vectors()
    found = {}
    for part, questions in data.questions.items():
        ranks: list[Rows] = []
        for first in range(0, len(questions.windows), 256):
            windows, taken = questions.windows[first : first + 256], questions.taken[first : first + 256]
            store = HistoryStore()
            for user, window in enumerate(windows):
                for item in window.tolist():
                    store.append(user, item, 1, 0.0)
            cut = store.cut(range(len(windows)), np.zeros(len(windows), np.int64), learner.config.model.length)
            states = learner.model.encode(cut.without_newest())  # [B, T - 1, D]
            for row, (window, before) in enumerate(zip(windows, taken, strict=True)):
                own = states[row, -questions.targets :]
                ranks.append(rank(own, vectors, window, before, questions.targets))
        found[part] = measure(np.concatenate(ranks))
    return found


def popular(data: Data) -> dict[str, dict[str, float]]:
    counts = np.bincount(np.concatenate(list(data.train.values())), minlength=len(data.tokens)).astype(np.float32)
    found = {}
    for part, questions in data.questions.items():
        ones = torch.ones(questions.targets, 1)
        vectors = torch.from_numpy(counts)[:, None]
        pairs = zip(questions.windows, questions.taken, strict=True)
        ranks = [rank(ones, vectors, window, taken, questions.targets) for window, taken in pairs]
        found[part] = measure(np.concatenate(ranks))
    return found


def rules(length: int, seed: int) -> dict[str, Windows]:
    return {
        "fixed-latest": fixed_latest(length),
        "all-sliding": all_sliding(length, seed),
        "mixed-500": mixed(500, length, seed),
        "mixed-1000": mixed(1_000, length, seed),
    }


def train(data: Data, config: FoundationLearner.Config, rule: Windows, steps: int) -> tuple[FoundationLearner, float]:
    learner = FoundationLearner(config)
    store = HistoryStore(most_events=5_000)
    for user, history in data.train.items():
        for item in history.tolist():
            store.append(user, item, 1, 0.0)
    learner.model.item_encoder.tokens.copy_(torch.from_numpy(data.tokens))
    every = np.concatenate(list(data.train.values()))
    learner.observe(every, np.zeros(len(every)))
    started = time.monotonic()
    learner.fit(store, rule, steps)
    return learner, time.monotonic() - started


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Means over the seeds, the standard deviations under ``sd``."""
    means: dict[str, Any] = {}
    for name, results in runs.items():
        flat = [{f"{part} {metric}": run[part][metric] for part in PARTS for metric in run[part]} for run in results]
        means[name] = {key: float(np.mean([one[key] for one in flat])) for key in flat[0]}
        spread = {key: float(np.std([one[key] for one in flat], ddof=1)) for key in flat[0]} if len(flat) > 1 else {}
        means[name] |= {"seconds": float(np.mean([run["seconds"] for run in results])), "sd": spread}
    return means


def draw(means: dict[str, dict[str, Any]]) -> Table:
    columns = [f"{part} {metric}" for part in PARTS for metric in ("recall@10", "mrr")]
    table = Table("windows", *columns, "seconds", title="ML-1M ordered histories, equal steps")
    for name, values in means.items():
        shown = [f"{values[key]:.4f}" + (f" ± {values['sd'][key]:.4f}" if values["sd"] else "") for key in columns]
        table.add_row(name, *shown, f"{values['seconds']:.0f}")
    return table


def main(
    steps: int = typer.Option(1_000, help="Optimiser steps of every run."),
    seeds: int = typer.Option(3, help="Runs of each rule."),
    first_seed: int = typer.Option(1),
    length: int = typer.Option(50, help="K, events that the model reads."),
    dimension: int = typer.Option(48),
    batch: int = typer.Option(64, help="Windows a step."),
    learning_rate: float = typer.Option(2e-3),
    json_path: Path | None = typer.Option(None, "--json", help="Write the results here; a seed that is there is kept."),
) -> None:
    torch.set_num_threads(1)
    folder = locate("ml-1m", Settings().data, "ml-1m/ordered_interactions.parquet").parent
    console, runs = Console(width=160), dict[str, list[dict[str, Any]]]()
    seen: list[int] = []
    if json_path is not None and json_path.is_file():
        earlier = json.loads(json_path.read_text())
        runs, seen = earlier["runs"], earlier["seeds"]
    for seed in range(first_seed, first_seed + seeds):
        if seed in seen:
            continue
        data = load(folder, length, seed)
        runs.setdefault("popular", []).append({**popular(data), "seconds": 0.0})
        for name, rule in rules(length, seed).items():
            model = FoundationModel.Config(catalog_rows=len(data.tokens), dimension=dimension, length=length)
            config = FoundationLearner.Config(model=model, learning_rate=learning_rate, batch_windows=batch, seed=seed)
            learner, seconds = train(data, config, rule, steps)
            runs.setdefault(name, []).append({**evaluate(learner, data), "seconds": seconds})
            console.print(seed, name, runs[name][-1])
        seen.append(seed)
        report = {"dataset": "ml-1m ordered", "steps": steps, "length": length, "seeds": seen, "runs": runs}
        report |= {"config": {**asdict(config)}, "models": summary(runs)}
        if json_path is not None:
            json_path.write_text(json.dumps(report, indent=1))
    console.print(draw(summary(runs)))


if __name__ == "__main__":
    typer.run(main)
