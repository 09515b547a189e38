"""Does predicting intents first help? IntentRec's ablation, and what in-session events are worth.

    python benchmarks/intent_rec.py --dataset ml-100k --seeds 0,1,2 --json intent-ml-100k.json

Prequential, full catalogue, last 80 % of the events. The variants are one model composed differently:
``single-task`` has no intents, ``multi-task`` predicts them beside the items, ``intent-rec`` feeds them into the item
encoder, ``no-window`` is that without the short-term encoder. ``long-term-only`` is ``intent-rec`` asked without the
events of the running session (a pause of 30 minutes ends one), as a server that refreshes histories in between does.

Stars become actions where there are any (4 and more: like, 2 and fewer: skip), so that the action intent has something
to predict; every variant reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.evaluation.protocols import Plan, run_prequential
from online_models.evaluation.protocols.sessions import SESSION_GAP_SECONDS
from online_models.recommenders import Recommender, Setting, recommenders
from online_models.vocabulary import action_row
from streamer.evaluation.data import load

VARIANTS = ("single-task", "multi-task", "no-window", "intent-rec", "long-term-only")
METRICS = ("hr@10", "hr@10_untied", "ndcg@10", "mrr@10", "hr@10_new_items", "hr@10_new_users")
SLICES = ("session_0", "session_1", "session_2_5", "session_over_5")


class LongTermOnly:
    """A recommender that is asked with what was known before the running session began."""

    def __init__(self, inner: Recommender) -> None:
        self.inner, self.micro_batch = inner, inner.micro_batch

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a log."""
        self.inner.fit(train, validation)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn a micro-batch."""
        self.inner.learn(events, histories)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score without the running session."""
        return self.inner.score(before_session(histories))


def before_session(histories: Histories, gap_seconds: float = SESSION_GAP_SECONDS) -> Histories:
    """Cut the running session off: every event after the last pause longer than the gap.

    >>> cut = before_session(Histories.of([[5, 6, 7]], times_seconds=[[0.0, 9000.0, 9001.0]], now_seconds=[9002.0]))
    >>> cut.items.tolist()
    [5]
    """
    keep = np.ones(len(histories.items), bool)
    for place in range(len(histories)):
        first, last = histories.offsets[place], histories.offsets[place + 1]
        times = np.append(histories.times_seconds[first:last], histories.now_seconds[place])
        running = np.cumsum((np.diff(times) > gap_seconds)[::-1])[::-1] == 0  # no pause between it and now
        keep[first:last] = ~running
    offsets = np.concatenate([[0], np.cumsum(keep)])[histories.offsets]
    columns = {name: getattr(histories, name)[keep] for name in ("items", "actions", "times_seconds")}
    return replace(histories, offsets=offsets.astype(np.int64), **columns)


def with_opinions(log: Interactions) -> Interactions:
    stars = log.values
    actions = np.where(stars >= 4, action_row("like"), np.where(stars <= 2, action_row("skip"), log.actions))
    return replace(log, actions=np.where(np.isnan(stars), log.actions, actions))


def factory(variant: str) -> Callable[[Setting], Recommender]:
    known = recommenders()
    if variant == "long-term-only":
        return lambda setting: LongTermOnly(known["intent-rec"](setting))
    return known[variant if variant in known else f"intent-rec-{variant}"]


def measured(log: Interactions, variant: str, seeds: list[int], plan: Plan) -> dict[str, object]:
    began, runs = time.perf_counter(), []
    for seed in seeds:
        runs.append(run_prequential(factory(variant), log, seed=seed, plan=plan).metrics)
        print(f"  {variant} seed {seed}: hr@10 {runs[-1]['hr@10']:.4f}", flush=True)
    names = [*METRICS, *(f"hr@10_{part}" for part in SLICES), *(f"tests_{part}" for part in SLICES)]
    means = {name: float(np.mean([run[name] for run in runs])) for name in names}
    deviations = {name: float(np.std([run[name] for run in runs], ddof=1)) for name in names} if len(runs) > 1 else {}
    return {**means, "sd": deviations, "seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="also any name of `headwater evaluate --model`")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--events", type=int, default=None, help="only the first so many")
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="validation: the warm-up alone")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = Path(os.environ["HEADWATER_DATA"]) if "HEADWATER_DATA" in os.environ else None
    log = with_opinions(load(given.dataset, data, given.events).log)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    plan = Plan(on=given.on)
    models = {variant: measured(log, variant, seeds, plan) for variant in given.variants.split(",")}
    for variant, values in models.items():
        shown = [f"{name} {values[name]:.4f}" for name in (*METRICS[:4], *(f"hr@10_{part}" for part in SLICES))]
        print(f"{variant:15s}", "  ".join(shown), f"({values['seconds']} s)")
    if given.json:
        told = {"dataset": given.dataset, "protocol": "prequential", "on": given.on, "seeds": seeds, "models": models}
        given.json.write_text(json.dumps({**told, "digest": log.digest()}, indent=1))


if __name__ == "__main__":
    main()
