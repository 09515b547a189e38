"""Which objective trains an encoder best: causal, masked, permuted or replaced-token, at equal optimiser steps.

Leave-one-out with full ranking. One encoder (Transformers4Rec with item, categories, action and time), one optimiser,
the same histories in the same batches: an epoch has as many steps for each objective. Of the epochs of a run the one is
kept that ranks the validation items best. What a step costs differs, so seconds are shown beside. Popularity stands in
the first line.

    HEADWATER_DATA=… python benchmarks/objectives.py --dataset beauty --epochs 20 --json objectives.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from online_models.encoders.merge import Concatenated, Merge, Summed
from online_models.evaluation.protocols.leave_one_out import run_leave_one_out
from online_models.objectives.causal import Causal
from online_models.objectives.exercise import Objective
from online_models.objectives.masked import Masked
from online_models.objectives.permuted import Permuted
from online_models.objectives.replaced_token import ReplacedToken
from online_models.recommenders import Setting, recommenders
from online_models.recommenders.sequential import SequenceRecommender
from online_models.recommenders.transformers4rec import transformers4rec_learner
from online_models.sequence_fitting import Fitting
from online_models.sequence_learner import SequenceLearner
from streamer.evaluation.data import load
from streamer.settings import Settings

Run = dict[str, float]
METRICS = ("hr@10", "ndcg@10", "mrr@10", "coverage@10", "fit_seconds")
MERGES: dict[str, Merge] = {"summed": Summed, "concatenated": Concatenated}


def objectives(share: float, detection_weight: float) -> dict[str, Objective]:
    return {
        "causal": Causal(),
        "masked": Masked(share),
        "permuted": Permuted(share),
        "replaced": ReplacedToken(share, detection_weight=detection_weight),
    }


def main(
    dataset: str = "beauty",
    only: str = typer.Option("causal,masked,permuted,replaced", help="Objectives, with commas between."),
    epochs: int = typer.Option(20, help="The same for all: so are the steps."),
    evaluate_every: int = 2,
    seeds: str = typer.Option("0", help="With commas between."),
    on: str = typer.Option("test", help="test, or validation to choose settings by."),
    share: float = typer.Option(0.3, help="Share of the events that is hidden."),
    detection_weight: float = typer.Option(1.0, help="Of telling replaced events from real ones."),
    rate: float = 1e-3,
    table_rate: float = 3e-2,
    batch_positions: int = 1_024,
    layers: int = 2,
    merge: str = typer.Option("summed", help=" or ".join(MERGES)),
    json_path: Path | None = typer.Option(None, "--json"),
) -> None:
    torch.set_num_threads(1)
    log = load(dataset, Settings().data).log
    fitting = Fitting(epochs=epochs, patience=epochs, evaluate_every=evaluate_every, batch_positions=batch_positions)
    found: dict[str, Any] = {"popular": _means([_run(recommenders()["popular"], log, 0, on)])}
    for name, objective in objectives(share, detection_weight).items():
        if name not in only.split(","):
            continue
        learner = partial(
            transformers4rec_learner,
            objective=objective,
            merge=MERGES[merge],
            rate=rate,
            table_rate=table_rate,
            layers=layers,
        )
        runs = [_train(learner, fitting, log, seed, on) for seed in map(int, seeds.split(","))]
        found[name] = _means(runs)
        _show(dataset, found)
    _show(dataset, found, whole=True)
    if json_path is not None:
        given = {"dataset": dataset, "protocol": "leave-one-out", "on": on, "epochs": epochs, "seeds": seeds}
        settings = {
            "share": share,
            "detection_weight": detection_weight,
            "rate": rate,
            "table_rate": table_rate,
            "batch_positions": batch_positions,
            "layers": layers,
            "merge": merge,
        }
        json_path.write_text(json.dumps(given | settings | {"digest": log.digest(), "models": found}, indent=2))


def _train(learner: Callable[[Setting], SequenceLearner], fitting: Fitting, log: Any, seed: int, on: Any) -> Run:
    made: list[SequenceRecommender] = []

    def build(setting: Setting) -> SequenceRecommender:
        made.append(SequenceRecommender(partial(learner, setting), setting, fitting=fitting))
        return made[-1]

    run, (recommender,) = _run(build, log, seed, on), made
    assert recommender.fitted is not None
    best = recommender.fitted.best
    return run | {
        "steps_kept": float(recommender.learner.steps),
        "best_epoch": best["epoch"],
        "validation_ndcg@10": best["ndcg@10"],
    }


def _run(build: Any, log: Any, seed: int, on: Any) -> Run:
    started = time.perf_counter()
    result = run_leave_one_out(build, log, seed=seed, on=on)
    return {name: result.metrics[name] for name in METRICS} | {"seconds": time.perf_counter() - started}


def _means(runs: list[Run]) -> dict[str, Any]:
    means: dict[str, Any] = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    if len(runs) > 1:
        means["sd"] = {name: float(np.std([run[name] for run in runs], ddof=1)) for name in runs[0]}
    return means


def _show(dataset: str, found: dict[str, Any], whole: bool = False) -> None:
    if not whole:
        name = list(found)[-1]
        print(name, {key: round(value, 4) for key, value in found[name].items() if key != "sd"}, flush=True)
        return
    table = Table("objective", *METRICS, title=f"{dataset}, leave-one-out, full ranking")
    for name, means in found.items():
        table.add_row(name, *(f"{means[key]:.4f}" if "@" in key else f"{means[key]:.0f}" for key in METRICS))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
